"""Conversion of snapshots of schema 1 to schema 2.

Schema 1 called the optimizers "creator" and "critic", stored a loss scale for float16 training,
which was removed, and counted the updates of W per row.
"""

import numpy as np

_RENAMED = {"creator": "generator_optimizer", "critic": "discriminator_optimizer"}
_REMOVED = ("loss_scale/",)
_W_COUNTS, _W_V = "critic/1/row_counts", "critic/1/row_v"


def upgraded(arrays):
    """The state of a schema-1 snapshot under schema 2's names.

    W's optimizer gets its t from D's other optimizer, and every row counts as last updated at t.
    Its v is kept. In schema 1 a row's v did not decay between two updates of the row, so it is too
    large for rows that batches seldom contain; it reaches the exact value after about
    1 / (1 - beta2) = 1,000 updates of the resumed run.

    Args:
      arrays: name -> numpy array of a snapshot of meta-learning or of a person's fine-tuning.

    Returns:
      name -> numpy array.
    """
    result = {}
    for name, array in arrays.items():
        if name.startswith(_REMOVED) or name in (_W_COUNTS, _W_V):
            continue
        part, slash, rest = name.partition("/")
        result[_RENAMED.get(part, part) + slash + rest] = array
    if _W_V in arrays:
        t, rows = np.int64(arrays["critic/0/count"]), len(arrays[_W_V])
        result["discriminator_optimizer/1/count"] = t
        result["discriminator_optimizer/1/v"] = arrays[_W_V]
        result["discriminator_optimizer/1/last_update"] = np.full(rows, t, np.int64)
    return result
