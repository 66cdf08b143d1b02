"""Published models for tests: the avatars ann and bob (mode vector) and their bank."""

import dataclasses

from tests.random_avatars import random_avatar
from tf_talkinghead.config import preset
from tf_talkinghead.export import bank_workflow, store
from tf_talkinghead.export.saved_model import export_person
from tf_talkinghead.personalization.avatar import Facts, save_avatar
from tf_talkinghead.weights.store import empty, load_trained, save_trained


def make_models(folder):
    """Publishes ann and bob once each, and a bank with both in two versions.

    ann and bob have an entry in models.config.

    Returns:
      (folder of the weights, folder of all models), both in `folder`.
    """
    shared, generator = random_avatar(mode="vector")
    trained = empty(preset("tiny"))
    trained.generator.set_weights(generator.get_weights())
    weights, models = save_trained(trained, folder / "weights"), folder / "models"
    facts = Facts(trained_weights_sha256=load_trained(weights).provenance["sha256"])
    for share, name in ((0.5, "ann"), (1.0, "bob")):
        avatar = dataclasses.replace(shared, facts=facts, psi_hat=share * shared.psi_hat)
        save_avatar(avatar, store.work_dir(models, name))
        export_person(avatar, models, name)
    for _ in range(2):
        bank_workflow.publish_bank(str(weights), models)
    entries = "".join(
        f'config {{ name: "{name}" base_path: "/m/{name}" model_platform: "tensorflow" }} '
        for name in ("ann", "bob")
    )
    (models / store.CONFIG_FILE).write_text(f"model_config_list {{ {entries} }}")
    return weights, models
