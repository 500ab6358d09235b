// Compiled into istio.io/istio/cni/pkg/nodeagent, see build-server.sh: the ZDS server of istio-cni and its cache of pods,
// neither of which the package exports. Nothing here is about the protocol: all of that is istio-cni's own.

package nodeagent

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// TestedZdsServer does what istio-cni's own netServer does with pods, without the rules in their namespaces.
type TestedZdsServer struct {
	pods   *podNetnsCache
	server *ztunnelServer
}

// NewTestedZdsServer listens at a path; keepalive is how often an idle connection is looked at.
func NewTestedZdsServer(path string, keepalive time.Duration) (*TestedZdsServer, error) {
	pods := newPodNetnsCache(OpenNetns)
	server, err := newZtunnelServer(path, pods, keepalive)
	if err != nil {
		return nil, err
	}
	return &TestedZdsServer{pods: pods, server: server}, nil
}

// Run serves until the context ends.
func (t *TestedZdsServer) Run(ctx context.Context) { t.server.Run(ctx) }

// Connections is how many ztunnels are connected.
func (t *TestedZdsServer) Connections() int { return len(t.server.conns.snapshotConns()) }

// Remember puts a pod into the snapshot of later connections.
func (t *TestedZdsServer) Remember(pod *corev1.Pod, netns string) error {
	_, err := t.pods.UpsertPodCache(pod, netns)
	return err
}

// RememberWithoutNetns puts a pod whose namespace is not known into the snapshot: it is sent as "keep".
func (t *TestedZdsServer) RememberWithoutNetns(uid string) { t.pods.Ensure(uid) }

// Add remembers a pod, sends it to the newest ztunnel and waits for its ack.
func (t *TestedZdsServer) Add(ctx context.Context, pod *corev1.Pod, netns string) error {
	open, err := t.pods.UpsertPodCache(pod, netns)
	if err != nil {
		return err
	}
	return t.server.PodAdded(ctx, pod, open)
}

// Delete forgets a pod, tells every ztunnel and waits for their acks.
func (t *TestedZdsServer) Delete(ctx context.Context, uid string) error {
	t.pods.Take(uid)
	return t.server.PodDeleted(ctx, uid)
}
