"""A simulated fleet whose true energies are known, as its meters and vehicles tell of it."""
