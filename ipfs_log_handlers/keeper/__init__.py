"""Do the background work of a home: seal lines into batches, ship batches, free space. `loop` runs these steps."""
