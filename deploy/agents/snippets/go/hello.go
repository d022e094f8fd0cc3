package main

import (
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/gorilla/websocket"
)

// The gateway has checked Origin.
var upgrader = websocket.Upgrader{
	CheckOrigin: func(*http.Request) bool { return true }}

func agent(w http.ResponseWriter, r *http.Request) {
	c, err := upgrader.Upgrade(w, r, nil)
	for err == nil {
		var kind int
		var message []byte
		if kind, message, err = c.ReadMessage(); err == nil {
			err = c.WriteMessage(kind, append([]byte("you said: "), message...))
		}
	}
}

func main() {
	network, address := "tcp", os.Getenv("CORRAL_LISTEN")
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		panic(err)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go http.Serve(listener, http.HandlerFunc(agent))
	<-stop
	listener.Close()
}
