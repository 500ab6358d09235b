// The ZDS server of istio-cni as a program that a test drives: a line of JSON on stdin is an order, a line of JSON on stdout
// answers it. It ends with stdin. Orders are carried out side by side, as istio-cni does with what the kubelet asks.
//
//	zds-server PATH [KEEPALIVE]
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"istio.io/istio/cni/pkg/nodeagent"
	"istio.io/istio/pkg/log"
)

// What istio-cni has as its default.
const usualKeepalive = 5 * time.Second

type order struct {
	ID             int    `json:"id"`
	Operation      string `json:"operation"`
	UID            string `json:"uid"`
	Name           string `json:"name"`
	Namespace      string `json:"namespace"`
	ServiceAccount string `json:"serviceAccount"`
	Netns          string `json:"netns"`
}

type answer struct {
	ID int `json:"id"`
	// Empty: it went well.
	Error       string  `json:"error"`
	TookMs      float64 `json:"tookMs"`
	Connections int     `json:"connections"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "zds-server: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: zds-server PATH [KEEPALIVE]")
	}
	keepalive := usualKeepalive
	if len(args) > 1 {
		var err error
		if keepalive, err = time.ParseDuration(args[1]); err != nil {
			return err
		}
	}
	// Istio logs to stdout, which is for the answers here.
	options := log.DefaultOptions()
	options.OutputPaths = []string{"stderr"}
	if err := log.Configure(options); err != nil {
		return err
	}
	server, err := nodeagent.NewTestedZdsServer(args[0], keepalive)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go server.Run(ctx)

	answers := answerWriter{encoder: json.NewEncoder(os.Stdout)}
	answers.write(answer{})
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var next order
		if err := json.Unmarshal(lines.Bytes(), &next); err != nil {
			return fmt.Errorf("order %q: %w", lines.Text(), err)
		}
		go func() {
			startedAt := time.Now()
			result := answer{ID: next.ID}
			if err := carryOut(ctx, server, next); err != nil {
				result.Error = err.Error()
			}
			result.TookMs = float64(time.Since(startedAt).Microseconds()) / 1000
			result.Connections = server.Connections()
			answers.write(result)
		}()
	}
	return lines.Err()
}

func carryOut(ctx context.Context, server *nodeagent.TestedZdsServer, order order) error {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{UID: types.UID(order.UID), Name: order.Name, Namespace: order.Namespace},
		Spec:       corev1.PodSpec{ServiceAccountName: order.ServiceAccount},
	}
	switch order.Operation {
	case "remember":
		return server.Remember(pod, order.Netns)
	case "keep":
		server.RememberWithoutNetns(order.UID)
		return nil
	case "add":
		return server.Add(ctx, pod, order.Netns)
	case "delete":
		return server.Delete(ctx, order.UID)
	case "connections":
		return nil
	default:
		return fmt.Errorf("no operation %q", order.Operation)
	}
}

// answerWriter keeps lines of answers whole that come at the same time.
type answerWriter struct {
	mu      sync.Mutex
	encoder *json.Encoder
}

func (w *answerWriter) write(a answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.encoder.Encode(a); err != nil {
		fmt.Fprintf(os.Stderr, "zds-server: %v\n", err)
	}
}
