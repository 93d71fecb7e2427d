"""What a recipe is: the paper's one, the defaults, and what is refused."""

import pytest

from misf_lite.recipe import Recipe


def test_the_papers_recipe_is_the_papers():
    """Section 4.1: L1 + 0.1 adversarial + 0.1 perceptual + 250 style; Adam (0, 0.9), 1e-4; 256², 350,000 steps."""
    recipe = Recipe.paper()
    assert recipe.losses == {"l1": 1.0, "perceptual": 0.1, "style": 250.0, "adversarial": 0.1}
    assert (recipe.lr, recipe.discriminator_lr, recipe.betas) == (1e-4, 1e-5, (0.0, 0.9))
    assert (recipe.crops, recipe.steps, recipe.schedule, recipe.features) == ((256,), 350_000, "constant", "vgg19")


def test_a_preset_can_be_changed_field_by_field():
    assert Recipe.toy(steps=3, crops=[32]) == Recipe(data="toy", steps=3, crops=(32,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps must be more than 0"),
        ({"batch": 0}, "batch must be more than 0"),
        ({"lr": -1.0}, "lr must be more than 0"),
        ({"clip": 0.0}, "clip must be more than 0"),
        ({"crops": (8,)}, "16 pixels or more"),
        ({"crops": ()}, "16 pixels or more"),
        ({"seed": -1}, "seed must be from 0"),
        ({"ema_decay": 1.0}, "ema_decay must be from 0 to below 1"),
        ({"l1": 0.0}, "one of them more than 0"),
        ({"style": -1.0}, "must be 0 or more.*style"),
        ({"schedule": "cosine"}, "one of one-cycle, constant, got 'cosine'"),
        ({"precision": "int8"}, "one of float32, bf16, fp16"),
        ({"features": "resnet"}, "one of efflite0, vgg19"),
        ({"kinds": ("strokes", "zigzag")}, "kinds must be of strokes, box, blobs, text, thin"),
        ({"kinds": ()}, "at least one"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**change)
