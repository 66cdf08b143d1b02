"""Speed and memory, measured beside the rate of the machine itself.

Each subject is a module with

    OPTIONS: dict[str, str]      its options and what they mean, for `--option=name=value`
    run(preset: str, options: dict[str, str]) -> dict[str, float | str]

whose result is flat: names with units (`float32_ms_per_frame_batch_1`), numbers or short texts.
What a subject lacks (records, weights, a VGG) it synthesises, and says so in a text value. The
script adds `machine.describe()` to every result: `machine`, `cores`, `matmul_gflops`,
`matmul_bfloat16_gflops`, and `peak_memory_mb` of the run.

Subjects: `networks` and `data`, `train`, `person` in this package, `serving` in
`serving/benchmark.py`.
"""
