"""Memory: sizing, pools with loans and leases, the pebble, the transition pool and the DMA ring."""
