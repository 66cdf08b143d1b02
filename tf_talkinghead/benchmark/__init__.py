"""Benchmarks of speed and memory, reported together with the machine's own compute rate.

Each subject is a module with

    OPTIONS: dict[str, str]      its options and their meaning, for `--option=name=value`
    run(preset: str, options: dict[str, str]) -> dict[str, float | str]

whose result is flat: names with units (`float32_ms_per_frame_batch_1`), numbers or short texts.
Missing inputs (records, weights, VGG) are synthesised, which a text value of the result states. The
script adds `machine.describe()` to every result (`machine`, `device`, `cores`, `matmul_gflops`,
`matmul_bfloat16_gflops`) and `peak_memory_mb` of the run.

The subjects and their modules are listed in `scripts/benchmark.py`.
"""
