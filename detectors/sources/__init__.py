"""Where data comes in: sockets and PVA, CA and ZMQ clients."""
