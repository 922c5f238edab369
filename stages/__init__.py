"""The training stages: what trains, on which data, with which losses; and one loop for all of them."""
