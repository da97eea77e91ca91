"""One module a target, all with one signature.

::

    artifact = export(model, path, …)      # writes a file, or nothing at all if it cannot
    artifact.path, artifact.bytes          # where it is, how big it is
    runner = artifact.load(…)              # the target's own runtime
    runner.predict(x) -> logits            # float32 (n, classes), for any n
    runner.prepared(x) -> run              # run() is the bare run, without copies, for timing
    runner.layers(x) -> {layer: activations}    # where the runtime shows them

A new target is a module with these names; evaluation and parity then work on it unchanged.
"""
