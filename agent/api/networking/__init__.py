"""Typed models of Istio's networking.istio.io resources, all served versions, every field of release 1.31."""
