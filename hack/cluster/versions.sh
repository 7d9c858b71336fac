# What a cluster is made of. The Go modules that pin every dependency of etcd and Kubernetes are in modules/.
# shellcheck shell=bash disable=SC2034
KUBE=v1.34.4 KUBE_MINOR=34
ETCD=3.6.16
KWOK=v0.8.0
HELM=v3.19.0
KIND=v0.30.0
# The node image that this kind starts by default.
KIND_NODE=kindest/node:v1.34.0@sha256:7416a61b42b1662ca6ca89f02028ac133a309a2a30ba309614e8ec94d976dc5a
COREDNS=v1.12.1
LOCAL_PATH=v0.0.30
