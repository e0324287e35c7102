"""Recipes: by name, from a file, changed field by field, refused where they make no sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from bagnet.training.recipe import RECIPES, Recipe, finetuning, recipe


def test_by_name() -> None:
    assert recipe("modern") == Recipe()
    paper = recipe("paper", epochs=2)
    assert (paper.optimiser, paper.learning_rate, paper.momentum, paper.weight_decay) == ("sgd", 0.01, 0.9, 1e-4)
    assert (paper.batch_size, paper.schedule, paper.step_epochs, paper.epochs) == (256, "steps", 30, 2)


@pytest.mark.parametrize("name", RECIPES)
def test_a_file_gives_back_what_was_written(name: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPES[name].to_toml())
    assert recipe(path) == RECIPES[name]
    assert recipe(str(path), seed=3) == RECIPES[name].changed(seed=3)


def test_a_file_may_change_a_named_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('recipe = "paper"\nepochs = 5\nlearning_rate = 1\n')
    assert recipe(path) == RECIPES["paper"].changed(epochs=5, learning_rate=1.0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("epochs = ", "is no TOML"),
        ("epoch = 3", "a recipe has no field 'epoch': there are epochs"),
        ('recipe = "best"', "there is no recipe 'best'"),
        ("epochs = -1", "epochs must be at least 0, got -1"),
        ("select = 1.0", "select must be between 0 and 0.9, got 1.0"),
        ('epochs = "3"', "epochs must be a whole number, got '3'"),
        ("mirror = 1.5", "mirror must be between 0 and 1, got 1.5"),
        ("freeze = 1", "freeze must be true or false, got 1"),
        ('optimiser = "adam"', "optimiser must be one of adamw, sgd, lamb, got 'adam'"),
        ("final_epochs = 31\nepochs = 30", "final_epochs=31 are more than epochs=30"),
        ("accumulate = 3\nbatch_size = 128", "batch_size=128 cannot be split into accumulate=3 equal parts"),
        ("learning_rate = nan", "learning_rate must be between 1e-12 and 1e.12, got nan"),
        ("learning_rate = inf", "learning_rate must be between 1e-12 and 1e.12, got inf"),
        ('recipe = ["paper"]', "there is no recipe"),
        ('masked_at = "hardest"', "masked_at=hardest says where windows are left out, and masked=0 leaves out none"),
        ('masked = 0.1\nmasked_at = "worst"', "masked_at must be one of random, hardest, got 'worst'"),
        ("seed = 9999999999999999999", "seed must be between 0 and"),
    ],
)
def test_files_that_make_no_sense(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"mine\.toml: .*{reason}"):
        recipe(path)


def test_a_file_and_what_is_changed_of_it_count_together(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("accumulate = 3\nbatch_size = 128\nfinal_epochs = 40\n")
    assert recipe(path, batch_size=12, epochs=50).accumulate == 3
    with pytest.raises(ValueError, match=r"mine\.toml and what is changed of it: batch_size=128 cannot be split"):
        recipe(path, epochs=50)


def test_fine_tuning_takes_a_tenth_of_a_named_rate(tmp_path: Path) -> None:
    assert finetuning() == Recipe(learning_rate=3e-3 / 10)
    assert finetuning("paper", learning_rate=0.5).learning_rate == 0.5
    path = tmp_path / "mine.toml"
    path.write_text("learning_rate = 0.02\n")
    assert finetuning(path) == Recipe(learning_rate=0.02)


def test_names_that_are_none() -> None:
    with pytest.raises(ValueError, match=r"there is no recipe 'best': there are paper, modern, patchcure, or give a \.toml file"):
        recipe("best")
    with pytest.raises(FileNotFoundError):
        recipe("missing.toml")


@pytest.mark.parametrize(
    ("images", "epochs", "batch_size", "select"),
    [(1, 100, 8, 0.2), (200, 80, 8, 0.2), (579, 100, 32, 100 / 579), (1281, 100, 64, 100 / 1281), (9469, 30, 128, 0.05)],
)
def test_what_is_left_open_follows_the_number_of_images(images: int, epochs: int, batch_size: int, select: float) -> None:
    fitted = Recipe().fitted(images)
    assert (fitted.epochs, fitted.batch_size, fitted.select) == (epochs, batch_size, pytest.approx(select))
    assert fitted.fitted(50) == fitted


@pytest.mark.parametrize(("images", "epochs"), [(1, 30), (579, 28), (1281, 25), (9469, 10)])
def test_good_weights_need_fewer_steps(images: int, epochs: int) -> None:
    assert Recipe().fitted(images, finetuned=True).epochs == epochs
    assert Recipe(epochs=3).fitted(images, finetuned=True).epochs == 3


def test_what_is_given_stays() -> None:
    given = Recipe(epochs=3, select=0.3).fitted(200)
    assert (given.epochs, given.batch_size, given.select) == (3, 8, 0.3)
    assert Recipe(accumulate=3).fitted(200).batch_size == 24
    assert Recipe(final_epochs=150).fitted(200).epochs == 150
    assert Recipe(accumulate=2, batch_size=8).fitted(200, pixels=1 << 30).accumulate == 2


@pytest.mark.parametrize(
    ("batch", "pixels", "parts"),
    [
        (128, 0, 1),
        (128, 61**2, 1),
        (32, 8 * 128**2, 4),  # 64 windows of 128 px in a part
        (24, 8 * 128**2, 3),
        (128, 224**2, 8),  # 16 crops
        (7, 224**2, 1),
        (7, 1000**2, 7),  # of which no part can have fewer
    ],
)
def test_large_inputs_come_in_equal_parts_that_fit_into_memory(batch: int, pixels: int, parts: int) -> None:
    fitted = Recipe(batch_size=batch).fitted(9469, pixels=pixels)
    assert (fitted.parts, fitted.batch_size) == (parts, batch)
    assert Recipe(batch_size=batch).parts == 1
