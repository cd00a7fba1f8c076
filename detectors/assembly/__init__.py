"""Pure state machines: packets to frames, updates to events, frames to images."""
