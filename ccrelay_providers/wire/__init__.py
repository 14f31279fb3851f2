"""What goes over the wires. Pure: no socket, no clock, no thread, no configuration, no environment."""
