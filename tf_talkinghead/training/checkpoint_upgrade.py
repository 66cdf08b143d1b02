"""Snapshots of schema 1 read as schema 2: what was renamed, in one place.

Schema 1 called the optimizers "creator" and "critic", had a loss scale for float16 (nothing can be
trained with it now) and counted W's updates row by row.
"""

import numpy as np

_RENAMED = {"creator": "generator_optimizer", "critic": "discriminator_optimizer"}
_REMOVED = ("loss_scale/",)
_W_COUNTS, _W_V = "critic/1/row_counts", "critic/1/row_v"


def upgraded(arrays):
    """The state of a schema-1 snapshot under schema 2's names.

    W's optimizer takes its t from D's other optimizer, and every row counts as last touched at t.
    Its v is kept: schema 1's v of a row left out the decay between two touches, so it is too large
    for rows that batches seldom touch, and comes down to the exact value within some 1 / (1 -
    beta2) = 1,000 updates of the resumed run.

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
