"""Steps 2 and 9 of the flow: HTTP and WebSocket between the log and the browser."""
