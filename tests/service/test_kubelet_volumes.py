"""Volumes, tokens, ports and programs as a real pod sees them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import yaml
from tests.service.kubelet_home import PYTHON, Home, home, sh

from forebay.api.kinds import ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, Secret, ServiceAccount
from forebay.api.meta import Json, Key
from forebay.store.protocol import edit_status


def once(*containers: Json, **more: object) -> Json:
    """The spec of a pod that runs to its end."""
    return {"containers": list(containers), "restartPolicy": "Never", **more}


async def bound(here: Home, name: str, path: str, **spec: object) -> None:
    """A claim that is bound to a local volume."""
    volume = PersistentVolume.new(name, spec={"local": {"path": path}, **spec})
    await here.store.create(volume)
    await here.store.create(PersistentVolumeClaim.new(name, "default", spec={"volumeName": name}))

    def bind(claim: PersistentVolumeClaim) -> None:
        claim.raw["status"] = {"phase": "Bound"}

    await edit_status(here.store, PersistentVolumeClaim, Key("default", name), bind)


def claim(name: str, **more: object) -> Json:
    return {"name": "models", "persistentVolumeClaim": {"claimName": name, **more}}


async def succeeded(here: Home, name: str = "one") -> Pod:
    pod = await here.until(name, lambda p: p.status.get("phase") in ("Succeeded", "Failed"))
    assert pod.status["phase"] == "Succeeded", pod.status
    return pod


def test_a_claim_is_a_folder_below_the_nodes_root_under_the_path_of_its_mount(tmp_path: Path) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            await bound(here, "cache", "/models")
            mount = {"name": "models", "mountPath": "/mnt/models"}
            main = sh(
                "echo weights > /mnt/models/a && ls $DIR && echo --dir=/mnt/models",
                volumeMounts=[mount],
                env=[{"name": "DIR", "value": "/mnt/models"}],
            )
            await here.pod("one", once(main, volumes=[claim("cache")]))
            pod = await succeeded(here)
            assert (here.settings.root / "models" / "a").read_text() == "weights\n"
            assert here.log(pod) == f"a\n--dir={here.settings.root}/models\n"

    asyncio.run(body())


def test_a_read_only_claim_waits_until_its_folder_is_there(tmp_path: Path) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            await bound(here, "view", "/models/models/k1", mountOptions=["ro"])
            mount = {"name": "models", "mountPath": "/mnt/models", "readOnly": True}
            await here.pod(
                "one", once(sh("cat /mnt/models/a", volumeMounts=[mount]), volumes=[claim("view")])
            )
            pod = await here.until("one", lambda p: p.status.get("phase") == "Pending")
            while not any(reason == "FailedMount" for reason, _ in await here.events(pod)):
                await asyncio.sleep(0.02)
            view = here.settings.root / "models" / "models" / "k1"
            staged = view.with_name("staged")
            staged.mkdir(parents=True)
            (staged / "a").write_text("weights")
            staged.rename(view)
            pod = await succeeded(here)
            assert (
                "weights" in (here.settings.log_dir("default", "one", pod.uid) / "main" / "0.log").read_text()
            )

    asyncio.run(body())


def test_an_unbound_claim_is_waited_for_and_says_so(tmp_path: Path) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            pod = await here.pod("one", once(sh("true"), volumes=[claim("none")]))
            while not await here.events(pod):
                await asyncio.sleep(0.02)
            messages = [message for _, message in await here.events(pod)]
            assert (
                'MountVolume.SetUp failed for volume "models" : persistentvolumeclaim "none" not found'
                in messages
            )
            await bound(here, "none", "/late")
            await succeeded(here)

    asyncio.run(body())


def test_secrets_config_maps_and_the_downward_api_are_files(tmp_path: Path) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            await here.store.create(Secret.new("s", "default", data={"key": "czNjcmV0"}))
            await here.store.create(ConfigMap.new("m", "default", data={"a": "1", "b": "2"}))
            projected = {
                "sources": [
                    {"configMap": {"name": "m", "items": [{"key": "a", "path": "conf/a"}]}},
                    {"secret": {"name": "absent", "optional": True}},
                    {
                        "downwardAPI": {
                            "items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]
                        }
                    },
                    {"serviceAccountToken": {"path": "token"}},
                ]
            }
            volumes = [
                {"name": "s", "secret": {"secretName": "s", "defaultMode": 0o400}},
                {"name": "p", "projected": projected},
            ]
            mounts = [
                {"name": "s", "mountPath": "/s"},
                {"name": "p", "mountPath": "/p"},
                {"name": "s", "mountPath": "/one/key", "subPath": "key"},
            ]
            script = (
                "cat /s/key; echo; stat -c %a /s/key; cat /p/conf/a /p/labels /p/token; echo; cat /one/key"
            )
            spec = once(sh(script, volumeMounts=mounts), volumes=volumes, automountServiceAccountToken=True)
            await here.pod("one", spec, labels={"app": "x"})
            pod = await succeeded(here)
            text = here.log(pod)
            assert text.startswith(
                's3cret\n400\n1app="x"token of system:serviceaccount:default:default\ns3cret'
            )

    asyncio.run(body())


def test_a_sub_path_is_made_and_may_not_leave_the_volume(tmp_path: Path) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            name = {"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
            volume = {"name": "h", "hostPath": {"path": "/h"}}
            good = sh(
                "pwd > /w/where",
                workingDir="/w",
                env=[name],
                volumeMounts=[{"name": "h", "mountPath": "/w", "subPathExpr": "of/$(ME)"}],
            )
            await here.pod("one", once(good, volumes=[volume]))
            await succeeded(here)
            folder = here.settings.root / "h" / "of" / "one"
            assert (folder / "where").read_text() == f"{folder}\n"
            (here.settings.root / "h" / "out").symlink_to("/")
            for number, bad in enumerate(("../x", "out/etc")):
                mount = {"name": "h", "mountPath": "/w", "subPath": bad}
                await here.pod(f"bad-{number}", once(sh("true", volumeMounts=[mount]), volumes=[volume]))
                await here.until(f"bad-{number}", lambda p: "leaves the volume" in str(p.status))

    asyncio.run(body())


def test_a_pods_kubeconfig_carries_its_accounts_token(tmp_path: Path) -> None:
    async def body() -> None:
        async with home(tmp_path) as here:
            await here.store.create(ServiceAccount.new("robot", "default"))
            spec = once(
                sh("cat $KUBECONFIG; echo host: $KUBERNETES_SERVICE_HOST"),
                serviceAccountName="robot",
                automountServiceAccountToken=None,
            )
            await here.pod("one", spec)
            await here.pod("two", once(sh("echo [$KUBECONFIG]")))
            text, _, host = here.log(await succeeded(here)).partition("host: ")
            config = yaml.safe_load(text)
            assert config["users"][0]["user"]["token"] == "token of system:serviceaccount:default:robot"
            assert config["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:6443"
            assert host == "127.0.0.1\n"
            assert here.log(await succeeded(here, "two")) == "[]\n"

    asyncio.run(body())


def test_a_program_of_the_image_table_gets_expanded_args_and_only_a_small_environment(
    tmp_path: Path, monkeypatch: object
) -> None:
    async def body() -> None:
        code = "import json,os,sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))"
        async with home(tmp_path, images={"acme/echo": (PYTHON, "-c", code)}) as here:
            main = {
                "name": "main",
                "image": "quay.io/acme/echo:v2",
                "args": ["--port=$(PORT)", "$(OTHER)", "$$(PORT)"],
                "ports": [{"containerPort": 9000}],
                "env": [{"name": "PORT_9000", "value": "9000"}],
            }
            await here.pod("one", once(main))
            pod = await succeeded(here)
            args, env = json.loads(here.log(pod))
            port = str(json.loads(pod.annotations["forebay.dev/ports"])["9000"])
            assert args == [f"--port={port}", "$(OTHER)", "$(PORT)"]
            assert env["PORT"] == env["PORT_9000"] == port
            assert env["HOME"].startswith(str(here.settings.pod_dir(pod.uid)))
            assert "PYTEST_CURRENT_TEST" not in env

    asyncio.run(body())
