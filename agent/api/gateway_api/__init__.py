"""Typed models of the Gateway API (gateway.networking.k8s.io), release 1.6, both of its channels.

Its CRDs are the user's to install, and an API server with them has already refused what they
refuse. A manifest that is checked without a cluster, and an object of the lab, have not been
through one, so everything that the CRDs state is stated here again: fields, bounds, defaults
and the rules between fields. Fields of the experimental channel are read as well; where the two
channels differ on a value, the experimental one, which comes later, counts.
"""
