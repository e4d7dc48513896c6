//go:build tools

// Package kubernetes names the programs of the tests' control plane, so that go.mod and go.sum cover them.
//
// The Kubernetes module points its staging modules at its own source tree; go.mod points each at its release instead.
package kubernetes

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
	_ "k8s.io/kubernetes/cmd/kube-scheduler"
	_ "k8s.io/kubernetes/cmd/kubectl"
)
