// What runs in the instances of the demo and of tests/kind: an HTTP server whose health depends on how its image was built,
// and the client that asks it all the time. One static binary, so that its image needs no base.
//
//	instance            serve on :8080: / (version and name), /healthz
//	instance write TEXT write it to the data disk
//	instance read       print what is there
//	instance ask URL    request it all the time; every second one line of JSON with the counts so far
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	slowStart = 12 * time.Second
	// Other nodes and clients learn a moment later that a pod is going away, and send requests until then.
	drain = 4 * time.Second
	pause = 20 * time.Millisecond
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	file := filepath.Join(os.Getenv("DATA"), "written")
	switch {
	case len(arguments) == 0:
		return serve()
	case len(arguments) == 2 && arguments[0] == "write":
		return os.WriteFile(file, []byte(arguments[1]), 0o644)
	case len(arguments) == 1 && arguments[0] == "read":
		text, err := os.ReadFile(file)
		fmt.Print(string(text))
		return err
	case len(arguments) == 2 && arguments[0] == "ask":
		return ask(arguments[1])
	}
	return fmt.Errorf("usage: instance [write TEXT | read | ask URL]")
}

func serve() error {
	version, behaviour := os.Getenv("VERSION"), os.Getenv("BEHAVIOUR")
	log.Printf("version %s begins (%s)", version, behaviour)
	if behaviour == "crash" {
		return fmt.Errorf("version %s cannot start: its configuration names a disk that is not there", version)
	}
	begun := time.Now()
	var stopping atomic.Bool
	host, _ := os.Hostname()
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, "%s %s\n", version, host) })
	http.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		switch {
		case stopping.Load():
			http.Error(w, "stopping", http.StatusServiceUnavailable)
		case behaviour == "bad":
			http.Error(w, "version "+version+" never becomes ready", http.StatusServiceUnavailable)
		case behaviour == "slow" && time.Since(begun) < slowStart:
			http.Error(w, "warming up", http.StatusServiceUnavailable)
		default:
			fmt.Fprintln(w, "ok")
		}
	})
	server := &http.Server{Addr: ":8080", ReadHeaderTimeout: 10 * time.Second}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM, syscall.SIGINT)
	done := make(chan error, 1)
	go func() {
		<-asked
		stopping.Store(true)
		time.Sleep(drain)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		done <- server.Shutdown(ctx)
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		return err
	}
	return <-done
}

// counts is what the client prints.
type counts struct {
	Requests int            `json:"requests"`
	Failed   int            `json:"failed"`
	Versions map[string]int `json:"versions"`
	Errors   map[string]int `json:"errors"`
}

func ask(url string) error {
	// Without keep-alive each request takes the way through the Service that a new client would take.
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	seen := counts{Versions: map[string]int{}, Errors: map[string]int{}}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM, syscall.SIGINT)
	printed := time.Now()
	for {
		version, err := once(client, url)
		seen.Requests++
		if err != nil {
			seen.Failed++
			seen.Errors[err.Error()]++
		} else {
			seen.Versions[version]++
		}
		if time.Since(printed) >= time.Second {
			line, _ := json.Marshal(seen)
			fmt.Println(string(line))
			printed = time.Now()
		}
		select {
		case <-asked:
			return nil
		case <-time.After(pause):
		}
	}
}

func once(client *http.Client, url string) (version string, err error) {
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %d", response.StatusCode)
	}
	_, err = fmt.Fscan(response.Body, &version)
	return version, err
}
