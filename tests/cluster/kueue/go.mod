module uws-service/tests/cluster/kueue

go 1.26.0

require sigs.k8s.io/kueue v0.15.0

tool sigs.k8s.io/kueue/cmd/kueue
