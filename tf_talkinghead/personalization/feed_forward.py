"""An avatar without any update (Sec. 3.2, variant FF): psi_hat = P e_hat, and photos if guided.

It needs no content loss and no discriminator, so no file beyond the weights, and takes seconds.
"""

import dataclasses

from tf_talkinghead.faces.geometry import neutral_frame
from tf_talkinghead.personalization.avatar import Avatar, Facts, render
from tf_talkinghead.personalization.fine_tuning import embed, folded_weights
from tf_talkinghead.personalization.photos import choose_photos, resized_photos
from tf_talkinghead.personalization.progress import Progress


def feed_forward(trained, images, landmarks, config, pupils=None) -> Avatar:
    """The avatar of T images.

    Args:
      trained: `weights.store.Trained`, left unchanged.
      images: uint8 [T, S', S', 3], for a guided avatar of any size; landmarks: float32 [T, 68, 2],
        fractions.
      config: PersonalizeConfig.
      pupils: float32 [T, 2, 2], fractions, NaN where unknown; None: all unknown.
    """
    e_new = embed(trained.embedder, images, landmarks)
    psi_hat = trained.generator.project(e_new[None])[0].numpy()
    photos = None
    if trained.config.model.generator == "guided":
        photos = choose_photos(images, landmarks, trained.config.export.sources, pupils)
    avatar = Avatar(
        dataclasses.replace(trained.config, personalize=config),
        "feed_forward",
        folded_weights(trained.generator),
        psi_hat,
        landmarks[neutral_frame(landmarks)],
        photos=photos,
    )
    shown = resized_photos(images, trained.config.model.image_size)
    scores = Progress(shown, landmarks).evaluate(lambda points: render(avatar, points))
    avatar.facts = Facts(
        images=len(images),
        steps=0,
        face_similarity=scores["face_similarity"],
        trained_weights_sha256=trained.provenance.get("sha256"),
        trained_on=trained.provenance.get("run") or trained.provenance.get("name"),
    )
    return avatar
