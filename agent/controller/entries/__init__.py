"""What ServiceEntries and WorkloadEntries add to the mesh, and what they may not take from others."""
