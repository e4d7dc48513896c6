"""What is wrong across objects that are each right: rules on a corpus of them, with Istio's codes.

A message is one kind of thing that can be wrong (messages/*.yaml), a finding is one place where
it is, an analyzer is a function from the corpus to its findings (analyzers/).
"""
