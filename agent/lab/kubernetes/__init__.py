"""The lab's nodes on a real Kubernetes API server: their kubelet and kube-proxy, in one process for all nodes.

Pods are whatever the API server binds to the nodes; the controllers that make them are the cluster's own. What is
plain in these files is Kubernetes', too: reasons, conditions and orders of events are a kubelet's.
"""
