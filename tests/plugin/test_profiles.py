from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from pytest_qwenvl.errors import UsageProblem
from pytest_qwenvl.profile_loading import load_profiles, select_profiles, written_in
from tests.stand_in_engine.install import write_profile

CHECKOUT = Path(__file__).parents[2]
SHIPPED = CHECKOUT / "conformance" / "profiles"


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """A profile that loads."""
    return write_profile(tmp_path / "profiles", "mine", tmp_path / "weights", latency=True)


def changed(profile: Path, before: str, after: str) -> Path:
    text = profile.read_text()
    assert text.count(before) == 1, before
    profile.write_text(text.replace(before, after))
    return profile


def problem_of(*directories: Path) -> str:
    with pytest.raises(UsageProblem) as caught:
        load_profiles(directories)
    return str(caught.value)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def test_a_profile_loads(profile):
    (loaded,) = load_profiles([profile.parent]).values()
    assert loaded.name == "mine"
    assert loaded.path == profile
    assert loaded.deployment("serve-1npu").images == 4
    with pytest.raises(KeyError, match="serve-9npu"):
        loaded.deployment("serve-9npu")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("images = 4", "image = 4", "deployments[0].image: unknown key; did you mean 'images'?"),
        ("merge_size", "merge_sise", "image.merge_sise: unknown key; did you mean 'merge_size'?"),
        ("title =", "titel =", "titel: unknown key; did you mean 'title'?"),
        (
            'name = "text"',
            'name = "text"\nbudget = []',
            "latency[0].budget: unknown key; did you mean 'budgets'?",
        ),
        ("[understanding]", "[understandig]", "did you mean 'understanding'?"),
        ("[engine.cpu.environment]", "[engine.gpu.environment]", "engine.gpu"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest(profile, before, after, said):
    problem = problem_of(changed(profile, before, after).parent)
    assert said in problem
    assert str(profile) in problem


@pytest.mark.parametrize(
    ("before", "after", "key", "seen"),
    [
        ("images = 4", 'images = "4"', "deployments[0].images", "'4'"),
        ("images = 4", "images = 4.5", "deployments[0].images", "4.5"),
        ("images = 4", "images = true", "deployments[0].images", "True"),
        ("npus = 1", "npus = 0", "deployments[0].npus", "0"),
        ("patch_size = 16", 'patch_size = "16"', "image.patch_size", "'16'"),
        ("reference = true", 'reference = "yes"', "reference", "'yes'"),
        ('mode = "serve"', 'mode = "server"', "deployments[0].mode", "'server'"),
        ("colour = 1.0", "colour = 1.5", "understanding.floors.colour", "1.5"),
        ("schema_version = 1", "schema_version = 2", "schema_version", "2"),
        ('name = "mine"', 'name = "Mine"', "name", "'Mine'"),
        ('STAND_IN = ""', "STAND_IN = 1", "engine.cpu.environment.STAND_IN", "1"),
    ],
)
def test_a_wrong_value_is_shown_with_its_key(profile, before, after, key, seen):
    problem = problem_of(changed(profile, before, after).parent)
    assert f"{profile}: {key}: " in problem
    assert f"(seen: {seen})" in problem


def test_every_wrong_key_is_listed_at_once(profile):
    changed(profile, "images = 4", "image = 4")
    changed(profile, "patch_size = 16", 'patch_size = "16"')
    assert {line.split(": ")[1] for line in problem_of(profile.parent).splitlines()} == {
        "deployments[0].image",
        "deployments[0].images",
        "image.patch_size",
    }


def test_a_missing_key_is_named(profile):
    problem = problem_of(changed(profile, "merge_size = 2\n", "").parent)
    assert problem == f"{profile}: image.merge_size: is missing"


def test_path_is_not_a_key_of_profiles(profile):
    problem = problem_of(changed(profile, "schema_version", 'path = "x"\nschema_version').parent)
    assert "path: unknown key; weights.path is meant?" in problem


def test_weights_need_a_place(profile):
    text = profile.read_text()
    line = next(line for line in text.splitlines() if line.startswith("path ="))
    problem = problem_of(changed(profile, line + "\n", "").parent)
    assert "weights: needs at least one of huggingface, modelscope, path" in problem


def test_a_workload_names_a_served_deployment(profile):
    problem = problem_of(
        changed(profile, 'deployment = "serve-1npu"', 'deployment = "serve-2npu"').parent
    )
    assert "latency 'text' names 'serve-2npu'" in problem
    assert "there are: serve-1npu" in problem


def test_deployments_have_names_of_their_own(profile):
    text = profile.read_text()
    block = text[text.index("[[deployments]]") : text.index("[[latency]]")]
    profile.write_text(text.replace(block, block * 2))
    assert "repeated: serve-1npu" in problem_of(profile.parent)


def test_two_files_with_one_name(profile, tmp_path):
    other = tmp_path / "others" / "copy.toml"
    write(other, profile.read_text())
    problem = problem_of(profile.parent, other.parent)
    assert str(other) in problem
    assert str(profile) in problem
    assert 'write overlay = "mine"' in problem


def test_an_overlay_changes_what_it_names_and_nothing_else(profile, tmp_path):
    overlay = write(
        tmp_path / "vendor" / "mine.toml",
        """
        overlay = "mine"
        [understanding.floors]
        colour = 0.5
        [[deployments]]
        name = "serve-1npu"
        images = 2
        [[deployments]]
        name = "serve-2npu"
        mode = "serve"
        npus = 2
        images = 3
        """,
    )
    before = load_profiles([profile.parent])["mine"]
    after = load_profiles([profile.parent, overlay.parent])["mine"]
    assert after.understanding.floors == {**before.understanding.floors, "colour": 0.5}
    first, second = after.deployments
    assert first == before.deployments[0].model_copy(update={"images": 2})
    assert (second.name, second.images) == ("serve-2npu", 3)
    assert after.path == profile
    assert after.image == before.image


def test_an_overlay_may_lie_beside_its_profile(profile):
    write(profile.with_name("a-change.toml"), 'overlay = "mine"\ntitle = "Changed"\n')
    assert load_profiles([profile.parent])["mine"].title == "Changed"


def test_a_wrong_overlay_is_blamed_itself(profile, tmp_path):
    overlay = write(tmp_path / "vendor" / "x.toml", 'overlay = "mine"\ntitel = "Changed"\n')
    problem = problem_of(profile.parent, overlay.parent)
    assert problem.startswith(f"{overlay}: titel: unknown key")


def test_an_overlay_of_nothing(profile, tmp_path):
    overlay = write(tmp_path / "vendor" / "x.toml", 'overlay = "mime"\n')
    problem = problem_of(profile.parent, overlay.parent)
    assert f"{overlay}: overlay = 'mime' names no profile; did you mean 'mine'?" in problem


def test_a_profile_starts_from_others(profile, tmp_path):
    base = write(profile.parent / "bases" / "base.toml", profile.read_text())
    profile.unlink()
    write(
        profile,
        """
        extends = ["bases/base.toml"]
        name = "yours"
        [engine.cpu.environment]
        OTHER = "1"
        """,
    )
    (loaded,) = load_profiles([profile.parent]).values()
    assert loaded.name == "yours"
    assert loaded.engine["cpu"].environment == {"STAND_IN": "", "OTHER": "1"}
    assert loaded.path == profile
    assert base.exists()


def test_extending_in_a_circle(tmp_path):
    write(tmp_path / "a.toml", 'extends = ["b.toml"]\n')
    write(tmp_path / "b.toml", 'extends = ["a.toml"]\n')
    problem = problem_of(tmp_path)
    assert "extends itself: a.toml -> b.toml -> a.toml" in problem


def test_extending_itself(tmp_path):
    write(tmp_path / "a.toml", 'extends = ["a.toml"]\n')
    assert "extends itself: a.toml -> a.toml" in problem_of(tmp_path)


def test_one_base_twice_is_no_circle(profile):
    write(profile.parent / "bases" / "nothing.toml", "")
    for name in ("left", "right"):
        write(profile.parent / "bases" / f"{name}.toml", 'extends = ["nothing.toml"]\n')
    changed(
        profile,
        "schema_version",
        'extends = ["bases/left.toml", "bases/right.toml"]\nschema_version',
    )
    assert list(load_profiles([profile.parent])) == ["mine"]


@pytest.mark.parametrize("value", ['"b.toml"', "[1]", "true"])
def test_extends_needs_names(tmp_path, value):
    write(tmp_path / "a.toml", f"extends = {value}\n")
    assert "extends: needs a list of file names" in problem_of(tmp_path)


def test_extending_a_missing_file(tmp_path):
    write(tmp_path / "a.toml", 'extends = ["b.toml"]\n')
    assert f"extends 'b.toml', but there is no file {tmp_path / 'b.toml'}" in problem_of(tmp_path)


def test_a_file_that_is_not_toml(tmp_path):
    file = write(tmp_path / "a.toml", "name = \n")
    assert f"{file}: is not TOML: " in problem_of(tmp_path)


def test_a_file_that_is_not_text(tmp_path):
    file = tmp_path / "a.toml"
    file.write_bytes(b"\xff\xfe\x00")
    assert f"{file}: cannot be read: " in problem_of(tmp_path)


def test_a_directory_that_is_missing(tmp_path):
    assert problem_of(tmp_path / "none") == f"--profiles {tmp_path / 'none'}: no such directory"


def test_a_directory_without_profiles(tmp_path):
    assert problem_of(tmp_path) == f"--profiles {tmp_path}: holds no profile (*.toml)"


def test_selecting_by_pattern(profile, tmp_path):
    write_profile(profile.parent, "mine-w8a8", tmp_path / "weights")
    profiles = load_profiles([profile.parent])
    assert list(select_profiles(profiles, ["mine*"])) == ["mine", "mine-w8a8"]
    assert list(select_profiles(profiles, ["*w8a8", "mine"])) == ["mine", "mine-w8a8"]
    with pytest.raises(UsageProblem) as caught:
        select_profiles(profiles, ["mine", "mime"])
    assert "--model mime: matches no profile; did you mean 'mine'?" in str(caught.value)
    assert "profiles: mine, mine-w8a8" in str(caught.value)


def test_every_shipped_profile_loads():
    profiles = load_profiles([SHIPPED])
    assert {file.stem for file in SHIPPED.glob("*.toml")} == set(profiles)
    published = {name for name, profile in profiles.items() if not profile.reference}
    assert published == {
        "qwen2.5-vl-3b-instruct",
        "qwen2.5-vl-7b-instruct",
        "qwen2.5-vl-32b-instruct",
        "qwen3-vl-2b-instruct",
        "qwen3-vl-4b-instruct",
        "qwen3-vl-8b-instruct",
        "qwen3-vl-8b-instruct-w8a8",
        "qwen3-vl-32b-instruct",
        "qwen3-vl-32b-instruct-w8a8",
    }
    assert set(profiles) - published == {"qwen3-vl-tiny", "qwen2.5-vl-tiny"}


@pytest.mark.parametrize("name", sorted(file.stem for file in SHIPPED.glob("*.toml")))
def test_every_number_of_a_shipped_profile_has_its_source(name):
    profile = load_profiles([SHIPPED])[name]
    stated = [profile.image, profile.understanding]
    for floor in profile.accuracy:
        stated += [floor, *floor.references]
    for workload in profile.latency:
        stated += [workload, *workload.budgets]
        assert workload.margin is not None
        stated.append(workload.margin)
    stated += profile.offline_bench
    for one in stated:
        assert len(one.source.split()) >= 2, one
    assert profile.weights.path or (profile.weights.huggingface and profile.weights.modelscope)


@pytest.mark.parametrize("name", ["qwen3-vl-tiny", "qwen2.5-vl-tiny"])
def test_constants_are_those_of_the_checkpoint(name):
    profile = load_profiles([SHIPPED])[name]
    assert profile.weights.path is not None
    file = profile.path.parent / profile.weights.path / "preprocessor_config.json"
    if not file.exists():
        pytest.skip(f"{name} has not been trained yet")
    content = json.loads(file.read_text())
    size = content.get("size") or {}
    smallest = content.get("min_pixels", size.get("shortest_edge"))
    largest = content.get("max_pixels", size.get("longest_edge"))
    image = profile.image
    assert (image.patch_size, image.merge_size, image.min_pixels, image.max_pixels) == (
        content["patch_size"],
        content["merge_size"],
        smallest,
        largest,
    )


def test_the_file_that_has_the_last_word_on_a_setting(profile, tmp_path):
    base = write(
        tmp_path / "bases" / "base.toml",
        """
        [engine.cpu.arguments]
        dtype = "bfloat16"
        max_num_seqs = 8
        [engine.cpu.environment]
        OF_THE_BASE = "1"
        """,
    )
    profile.write_text(f'extends = ["{base}"]\n' + profile.read_text())
    overlay = write(
        tmp_path / "overlays" / "ours.toml",
        """
        overlay = "mine"
        [[deployments]]
        name = "serve-1npu"
        [deployments.arguments]
        dtype = "float16"
        """,
    )
    (loaded,) = load_profiles([profile.parent, overlay.parent]).values()
    assert loaded.sources == (base, profile, overlay)
    assert loaded.path == profile
    deployment = loaded.deployment("serve-1npu")
    files = {
        "dtype": overlay,
        "max_num_seqs": base,
        "OF_THE_BASE": base,
        "max_model_len": profile,
        "nowhere": profile,
    }
    assert {name: written_in(loaded, deployment, name) for name in files} == files


def test_where_a_profile_was_read_from_is_not_for_it_to_say(profile):
    assert f"{profile}: sources: unknown key" in problem_of(
        changed(profile, "reference = true", "reference = true\nsources = []").parent
    )
