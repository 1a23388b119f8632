"""Collections of photographs: what an archive holds, and its canonical form."""
