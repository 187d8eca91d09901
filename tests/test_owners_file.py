"""The owners file: all that is wrong in it is named at once, with what is allowed, and no secret is repeated."""

import hashlib
import os
from pathlib import Path

import pytest

from imgsvc.runtime import owners_file
from imgsvc.runtime.local_settings import SettingsError
from imgsvc.runtime.owners import Owner, Owners, OwnersTable, any_key, read_owners
from imgsvc.runtime.settings import Settings

KEY, OTHER = "hunter2-0123456789", "hunter2-9876543210"
SHA256 = hashlib.sha256(OTHER.encode()).hexdigest()
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NEXT_SECRET = "whsec_aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMg=="
PRESETS = ("default", "shop")
WHOLE = f"""
[shop]
keys = ["{KEY}"]
key_sha256 = "{SHA256.upper()}"
weight = 4
max_running = 8
rate_limit = 600
quota_bytes = 50_000_000_000
presets = ["shop", "default"]
webhook_secret = ["{NEXT_SECRET}", "{SECRET}"]
admin = true

[blog]
weight = 0.5
"""


def settings(file: Path, **more: str) -> Settings:
    given = {"redis_url": "redis://localhost", "owners_file": str(file), "signing_secret": "s" * 32, **more}
    return Settings(**given)  # pyright: ignore[reportArgumentType] (it validates them)


def written(folder: Path, text: str | bytes, mode: int = 0o600) -> Path:
    file = folder / "owners.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    file.chmod(mode)
    return file


def complaint(file: Path, **more: str) -> str:
    with pytest.raises(SettingsError) as caught:
        read_owners(settings(file, **more), PRESETS)
    said = str(caught.value)
    for line in said.splitlines():
        assert line.startswith(f"IMGSVC_OWNERS_FILE is wrong: {file}: ")
    assert "hunter2" not in said
    assert "whsec_" not in said.replace("whsec_ and then", "")
    return said.replace(f"IMGSVC_OWNERS_FILE is wrong: {file}: ", "")


def test_an_owner_is_what_its_table_says(tmp_path: Path) -> None:
    owners = read_owners(settings(written(tmp_path, WHOLE)), PRESETS)
    shop = owners.of("shop")
    assert (shop.weight, shop.max_running, shop.rate_limit, shop.quota_bytes) == (4.0, 8, 600, 50_000_000_000)
    assert (shop.presets, shop.admin, len(shop.webhook_secrets)) == (frozenset(PRESETS), True, 2)
    assert shop.webhook_secrets[0].startswith(b"hunter2"), "the newest first"
    assert owners.of("blog") == Owner("blog", weight=0.5)
    assert owners.of("nobody") == Owner("nobody"), "who has no table is like every other"
    assert not owners.warnings
    assert "hunter2" not in repr(owners)


def test_keys_of_the_file_and_of_the_short_form_add_up(tmp_path: Path) -> None:
    file = written(tmp_path, WHOLE)
    short = "shop:shop-key-0123456789,news:news-key-0123456789"
    keys = read_owners(settings(file, api_keys=f"{short},shop:{KEY}"), PRESETS).keys
    given = (KEY, OTHER, "shop-key-0123456789", "news-key-0123456789", "", KEY + "x", SHA256, "\udcff" * 20)
    found = [keys.caller(key) for key in given]
    assert [caller and (caller.owner, caller.admin) for caller in found] == [
        *[("shop", True)] * 3,
        ("news", False),
        *[None] * 4,
    ]
    assert len(keys.callers) == 4, "one that is in both counts once"
    assert any_key(settings(file)) == KEY
    hashed = written(tmp_path, f'[shop]\nkey_sha256 = "{SHA256}"')
    assert any_key(settings(hashed)) is None


def test_what_the_queue_needs_has_a_fingerprint(tmp_path: Path) -> None:
    whole = read_owners(settings(written(tmp_path, WHOLE))).fingerprint
    same = read_owners(settings(written(tmp_path, WHOLE.replace("600", "601").replace("true", "false")))).fingerprint
    others = {
        read_owners(settings(written(tmp_path, WHOLE.replace(*change)))).fingerprint
        for change in [("weight = 4", "weight = 3"), ("= 8", "= 9"), ("[blog]", "[glob]"), ("0.5", "1")]
    }
    assert whole == same
    assert len(others | {whole}) == 5
    assert Owners().fingerprint == Owners({"shop": Owner("shop", rate_limit=1)}).fingerprint == ""


WRONG = {
    "": "it has no owner",
    "# nothing": "it has no owner",
    "weight = 2": "weight must be a table of fields, such as [weight]",
    "[[shop]]\nweight = 2": "shop must be a table of fields",
    "[Shop]": "'Shop' must be an owner's name of 1 to 40 of a-z, 0-9, _ and -",
    '["a\\nb"]': r"'a\nb' must be an owner's name",
    '[""]': "'' must be an owner's name",
    f"[{'n' * 41}]": "must be an owner's name",
    '["*"]': "'*' must be an owner's name",
    "[shop.weight]": "shop.weight must be a number from 0.01 to 1000",
    "[shop]\nwieght = 2": "shop.wieght is no field of an owner (did you mean weight?)",
    "[shop]\nzzz = 2": "shop.zzz is no field of an owner (they are keys, key_sha256,",
    "[shop]\nweight = nan": "shop.weight must be a number from 0.01 to 1000",
    "[shop]\nweight = inf": "shop.weight must be",
    "[shop]\nweight = -1": "shop.weight must be",
    "[shop]\nweight = 0": "shop.weight must be",
    "[shop]\nweight = true": "shop.weight must be",
    '[shop]\nweight = "2"': "shop.weight must be",
    f"[shop]\nweight = {'9' * 400}": "shop.weight must be",
    f"[shop]\nweight = {'9' * 9000}": "not TOML",
    "[shop]\nmax_running = 1.0": "shop.max_running must be a whole number of jobs from 0 to 100000",
    "[shop]\nmax_running = true": "shop.max_running must be",
    "[shop]\nrate_limit = -1": "shop.rate_limit must be a whole number of uploads and retries a minute from 0",
    "[shop]\nrate_limit = 1e3": "shop.rate_limit must be",
    "[shop]\nquota_bytes = 1000": "shop.quota_bytes must be 0 or at least 67108864",
    "[shop]\nquota_bytes = 99999999999999999999": "shop.quota_bytes must be a whole number of bytes a day from 0",
    "[shop]\npresets = []": "shop.presets must be a list of 1 to 1000 different values",
    '[shop]\npresets = "shop"': "shop.presets must be a list",
    '[shop]\npresets = ["shop", "shop"]': "shop.presets must be a list of 1 to 1000 different",
    '[shop]\npresets = [["shop"]]': "shop.presets must be a list",
    '[shop]\npresets = ["gallery"]': "shop.presets: there is no preset gallery (the presets are default, shop)",
    '[shop]\npresets = ["custom"]': "there is no preset custom",
    "[shop]\nadmin = 1": "shop.admin must be true or false",
    '[shop]\nadmin = "false"': "shop.admin must be true or false",
    "[shop]\nkeys = []": "shop.keys must be a string, or a list of one or more strings",
    "[shop]\nkeys = 1234567890123456": "shop.keys must be a string",
    f'[shop]\nkeys = ["{KEY}", 1]': "shop.keys must be a string, or a list of one or more strings",
    '[shop]\nkeys = ["hunter2"]': "shop.keys[1] must be 16 or more letters, digits",
    '[shop]\nkeys = "hunter2 hunter2 hunter2"': "shop.keys must be 16 or more letters, digits",
    f'[shop]\nkeys = ["{KEY}", "{KEY}"]': "shop.keys[2] is there twice",
    f'[shop]\nkeys = "{OTHER}"\nkey_sha256 = "{SHA256}"': "shop.key_sha256 is there twice",
    f'[shop]\nkeys = "{KEY}"\n[blog]\nkeys = ["{KEY}"]': "blog.keys[1] is also one of shop",
    '[shop]\nkey_sha256 = "hunter2"': "shop.key_sha256 must be 64 hexadecimal digits",
    f'[shop]\nkey_sha256 = "{SHA256[:-1]}g"': "shop.key_sha256 must be 64 hexadecimal digits",
    '[shop]\nwebhook_secret = "hunter2"': "shop.webhook_secret must be whsec_ and then 24 to 64 random bytes",
    '[shop]\nwebhook_secret = ["whsec_aHVudGVyMg=="]': "shop.webhook_secret[1] must be whsec_ and then 24",
    f'[shop]\nwebhook_secret = ["{SECRET}", "{SECRET}"]': "shop.webhook_secret[2] is there twice",
    f'[shop]\nwebhook_secret = "{SECRET}"\n[blog]\nwebhook_secret = "{SECRET}"': "also that of shop, who could sign",
    "[shop]\nweight = 1": "no owner has a key: give one keys or key_sha256, or set IMGSVC_API_KEYS too",
    "[shop]\nweight = 1\n[shop]": "not TOML",
    "[shop]\nweight 1": "not TOML: ",
    f"[shop]\nweight = {'[' * 20000}": "not TOML",
}


def test_f20_each_thing_that_is_wrong_in_the_file_is_named_with_what_is_allowed(tmp_path: Path) -> None:
    for text, says in WRONG.items():
        assert says in complaint(written(tmp_path, text)), text[:80]


def test_f20_everything_wrong_is_reported_at_once_up_to_a_bound(tmp_path: Path) -> None:
    said = complaint(written(tmp_path, "[shop]\nweight = 0\nadmin = 1\n[Blog]\n[news]\nkeys = []"))
    assert len(said.splitlines()) == 4
    many = complaint(written(tmp_path, "".join(f"[o{number}]\nweight = 0\n" for number in range(500))))
    assert len(many.splitlines()) == owners_file.MAX_PROBLEMS + 1
    assert many.splitlines()[-1] == "and 480 more"


def test_f20_a_key_of_the_short_form_is_no_other_owners(tmp_path: Path) -> None:
    file = written(tmp_path, f'[shop]\nkeys = "{KEY}"')
    assert "a key of shop is that of blog in IMGSVC_API_KEYS" in complaint(file, api_keys=f"blog:{KEY}")


def test_f20_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in complaint(tmp_path / "missing.toml")
    assert "it is not a file" in complaint(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "it is not a file" in complaint(tmp_path / "pipe"), "and nobody waits for its writer"
    assert "it is not a file" in complaint(Path("/dev/zero"))
    assert "is not text in UTF-8" in complaint(written(tmp_path, b"[shop]\nweight = 2 # \xff"))
    assert "it is longer than 4194304 bytes" in complaint(written(tmp_path, b"#" * (owners_file.MAX_BYTES + 1)))
    with_mark = written(tmp_path, b"\xef\xbb\xbf" + f'[shop]\r\nkeys = "{KEY}"\r\n'.encode())
    assert read_owners(settings(with_mark), PRESETS).keys.caller(KEY), "as an editor on Windows leaves it"


def test_f20_a_worker_needs_neither_keys_nor_presets(tmp_path: Path) -> None:
    file = written(tmp_path, '[shop]\nweight = 2\npresets = ["gallery"]\nquota_bytes = 1000')
    assert OwnersTable(settings(file)).current.of("shop").weight == 2


def test_f20_secrets_that_everyone_on_the_machine_may_read_are_warned_of(tmp_path: Path) -> None:
    for text, mode, warned in (
        (WHOLE, 0o644, True),
        (WHOLE, 0o640, False),
        (f'[shop]\nkey_sha256 = "{SHA256}"', 0o644, False),
        (f'[shop]\nkey_sha256 = "{SHA256}"\nwebhook_secret = "{SECRET}"', 0o604, True),
    ):
        warnings = read_owners(settings(written(tmp_path, text, mode)), PRESETS).warnings
        assert bool(warnings) is warned
        assert not warned or "chmod 640" in warnings[0]


def test_f21_thousands_of_owners_are_no_slower_to_find(tmp_path: Path) -> None:
    text = "".join(f'[o{number}]\nkeys = ["key-of-owner-{number:06d}"]\n' for number in range(5000))
    keys = read_owners(settings(written(tmp_path, text)), PRESETS).keys
    looked_at: list[bytes] = []

    class Counted(dict[bytes, object]):
        def get(self, key: bytes, default: object = None) -> object:
            looked_at.append(key)
            return super().get(key, default)

    object.__setattr__(keys, "_callers", Counted(keys._callers))  # pyright: ignore[reportPrivateUsage]
    for number in (0, 2500, 4999):
        caller = keys.caller(f"key-of-owner-{number:06d}")
        assert caller is not None
        assert caller.owner == f"o{number}"
    assert keys.caller("key-of-owner-0000000") is None
    assert len(looked_at) == 4, "one look each, by a hash"


def test_f22_a_wrong_file_changes_nothing_and_is_logged_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = written(tmp_path, WHOLE)
    table = OwnersTable(settings(file), PRESETS)
    before = table.current
    for text in ("[shop]\nweight = 0\nadmin = 1", "", WHOLE.replace('"shop", ', '"gallery", ')):
        caplog.clear()
        written(tmp_path, text)
        assert not table.reload()
        assert table.current is before
        (record,) = caplog.records
        said = record.getMessage()
        assert said.startswith(f"the owners stay as they are: IMGSVC_OWNERS_FILE is wrong: {file}: ")
        assert "\n" not in said
        assert "hunter2" not in said
    written(tmp_path, WHOLE.replace("weight = 4", "weight = 5"))
    assert table.reload()
    assert table.current.of("shop").weight == 5
    assert before.of("shop").weight == 4, "what was read of it before stays as it was"


def test_f22_a_file_that_is_away_for_a_moment_is_read_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, WHOLE)
    table = OwnersTable(settings(file), PRESETS)
    file.unlink()
    tries: list[float] = []

    def pause(seconds: float) -> None:
        tries.append(seconds)
        if len(tries) == 3:
            written(tmp_path, WHOLE.replace("weight = 4", "weight = 6"))

    monkeypatch.setattr("imgsvc.runtime.owners.sleep", pause)
    assert table.reload()
    assert (len(tries), table.current.of("shop").weight) == (3, 6)


def test_f22_a_volume_that_is_swapped_as_a_whole_is_read_as_a_whole(tmp_path: Path) -> None:
    """Kubernetes mounts a ConfigMap as links into a folder, and replaces the link to that folder."""
    for name, weight in (("..first", 4), ("..second", 7)):
        (tmp_path / name).mkdir()
        written(tmp_path / name, WHOLE.replace("weight = 4", f"weight = {weight}"))
    (tmp_path / "..data").symlink_to("..first")
    (tmp_path / "owners.toml").symlink_to("..data/owners.toml")
    table = OwnersTable(settings(tmp_path / "owners.toml"), PRESETS)
    assert table.current.of("shop").weight == 4
    (tmp_path / "..new").symlink_to("..second")
    (tmp_path / "..new").rename(tmp_path / "..data")
    assert table.reload()
    assert table.current.of("shop").weight == 7
