"""Typed model of Istio's MeshConfig: the settings of a whole mesh, every field of release 1.31.

It is no object of an API server but a text in a ConfigMap, under the key `mesh`, in the JSON form
of protobuf. Nobody has checked it before, and there is no author to refuse at the door; see
reading.py for how it is read.
"""
