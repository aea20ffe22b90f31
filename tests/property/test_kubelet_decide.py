"""Whatever containers do, a pod settles, its order is kept, and crashes are waited out."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from forebay.home.kubelet.decide import Decision, Kill, Mount, Remove, Start, Stop, decide, delay_s
from forebay.home.kubelet.state import (
    ContainerPlan,
    ContainerSeen,
    Ended,
    PodPlan,
    PodSeen,
    Running,
    Waiting,
    pod_plan,
)
from forebay.home.kubelet.status import About, pod_status

POLICIES = ("Always", "OnFailure", "Never")
RAW = {"metadata": {"name": "p", "namespace": "d", "uid": "u"}, "spec": {}}


@st.composite
def plans(draw: st.DrawFn) -> PodPlan:
    policy = draw(st.sampled_from(POLICIES))
    inits = [
        {"name": f"init-{i}"} | ({"restartPolicy": "Always"} if draw(st.booleans()) else {})
        for i in range(draw(st.integers(0, 3)))
    ]
    mains = [{"name": f"main-{i}"} for i in range(draw(st.integers(1, 3)))]
    deadline = draw(st.none() | st.integers(1, 400))
    spec = {"restartPolicy": policy, "initContainers": inits, "containers": mains}
    return pod_plan(spec | ({"activeDeadlineSeconds": deadline} if deadline else {}))


class World:
    """Carries decisions out; containers run for a drawn time and end with a drawn code, or run for ever."""

    def __init__(self, plan: PodPlan, data: st.DataObject, *, ends: bool = True) -> None:
        self.plan, self.data, self.ends = plan, data, ends
        self.now = 1000.0
        self.seen = PodSeen({c.name: ContainerSeen() for c in plan.containers}, started_at=self.now)
        self.end_at: dict[str, tuple[float, int]] = {}
        self.starts: list[tuple[str, float]] = []
        self.removed = False

    def put(self, name: str, **changes: object) -> None:
        one = replace(self.seen.containers[name], **changes)  # type: ignore[arg-type]
        self.seen = replace(self.seen, containers={**self.seen.containers, name: one})

    def step(self) -> Decision:
        decision = decide(self.plan, self.seen, self.now)
        self.seen = replace(self.seen, outcome=decision.outcome)
        for action in decision.actions:
            self.carry_out(action)
        status = pod_status(About(RAW, {}), self.plan, self.seen, decision, self.now)
        assert status["phase"] in ("Pending", "Running", "Succeeded", "Failed")
        return decision

    def carry_out(self, action: object) -> None:
        match action:
            case Mount():
                self.seen = replace(self.seen, mounted=True)
            case Start(name):
                one = self.seen.containers[name]
                assert not isinstance(one.state, Running)
                self.starts.append((name, self.now))
                last = one.state if isinstance(one.state, Ended) else one.last
                self.put(name, state=Running(self.now), last=last, runs=one.runs + 1)
                self.put(name, started=True, ready=True, passed=True, stop_at=None, killed=False)
                if self.ends and not name.startswith("side"):
                    lasts = self.data.draw(st.sampled_from([0.0, 1.0, 50.0, 700.0]))
                    self.end_at[name] = (self.now + lasts, self.data.draw(st.sampled_from([0, 0, 1])))
            case Stop(name):
                assert self.seen.containers[name].stop_at is None
                self.put(name, stop_at=self.now, stop_grace_s=action.grace_s)
                if self.data.draw(st.booleans()):
                    self.end_at[name] = (self.now + 1, 143)
                else:
                    self.end_at.pop(name, None)
            case Kill(name):
                assert not self.seen.containers[name].killed
                self.put(name, killed=True)
                self.end_at[name] = (self.now, 137)
            case Remove():
                self.removed = True

    def wait(self, decision: Decision) -> bool:
        """Until something happens; False when nothing ever will."""
        times = [at for at, _ in self.end_at.values()]
        times += [decision.look_at] if decision.look_at is not None else []
        if not times:
            return False
        self.now = max(self.now, min(times))
        for name, (at, code) in list(self.end_at.items()):
            if at <= self.now:
                del self.end_at[name]
                one = self.seen.containers[name]
                assert isinstance(one.state, Running)
                began = one.state.started_at
                crashes = 1 if at - began >= 600 else one.crashes + 1
                self.put(name, state=Ended(code, began, at), crashes=crashes, ready=False)
        return True

    def run(self, steps: int) -> bool:
        """True if it came to rest."""
        for _ in range(steps):
            decision = self.step()
            if self.removed or (not decision.actions and not self.wait(decision)):
                return True
        return False


@given(plan=plans(), data=st.data())
def test_a_pod_that_may_end_comes_to_rest_with_nothing_running(plan: PodPlan, data: st.DataObject) -> None:
    world = World(plan, data)
    rests = world.run(60)
    if rests and plan.deadline_s is None:
        assert world.seen.outcome is not None
    if world.seen.outcome is not None and rests:
        assert not any(isinstance(c.state, Running) for c in world.seen.containers.values())
    if all(c.restart != "Always" for c in plan.containers) and plan.containers[-1].restart == "Never":
        assert rests


@given(plan=plans(), data=st.data())
def test_no_container_starts_before_all_init_containers_before_it_are_done(
    plan: PodPlan, data: st.DataObject
) -> None:
    world = World(plan, data)
    for _ in range(40):
        decision = decide(plan, world.seen, world.now)
        for action in decision.actions:
            if isinstance(action, Start):
                for earlier in plan.containers:
                    if earlier.name == action.name:
                        break
                    one = world.seen.containers[earlier.name]
                    if earlier.role == "init":
                        assert isinstance(one.state, Ended) and one.state.code == 0
                    if earlier.role == "sidecar":
                        assert one.passed
        world.step()
        if not decision.actions and not world.wait(decision):
            break


@given(plan=plans(), data=st.data())
def test_a_crash_is_never_followed_by_a_start_before_its_wait_is_over(
    plan: PodPlan, data: st.DataObject
) -> None:
    world = World(plan, data)
    for _ in range(40):
        before = world.seen.containers
        count = len(world.starts)
        decision = world.step()
        for name, at in world.starts[count:]:
            one = before[name]
            if isinstance(one.state, Ended):
                assert at >= one.state.finished_at + delay_s(plan, one.crashes)
        if not decision.actions and not world.wait(decision):
            break


@given(plan=plans(), data=st.data(), after=st.integers(0, 12), grace=st.sampled_from([0.0, 1.0, 30.0]))
def test_a_deleted_pod_is_removed_within_its_grace_and_nothing_starts_any_more(
    plan: PodPlan, data: st.DataObject, after: int, grace: float
) -> None:
    world = World(plan, data, ends=False)
    world.run(after)
    marked, starts = world.now, len(world.starts)
    world.seen = replace(world.seen, deleting_grace_s=grace)
    assert world.run(30)
    assert world.removed
    assert len(world.starts) == starts
    assert world.now <= marked + grace + min(2, grace)
    assert not any(isinstance(c.state, Running) for c in world.seen.containers.values())


def test_the_wait_doubles_from_ten_seconds_to_five_minutes() -> None:
    plan = PodPlan((ContainerPlan("a", "main", "Always"),))
    assert [delay_s(plan, n) for n in range(1, 9)] == [0, 10, 20, 40, 80, 160, 300, 300]


def test_a_container_that_cannot_start_yet_is_tried_again_when_it_is_due() -> None:
    plan = PodPlan((ContainerPlan("a", "main", "Always"),))
    seen = PodSeen({"a": ContainerSeen(Waiting("ErrImagePull", "", 50.0))}, 0.0, mounted=True)
    assert decide(plan, seen, 49.0) == Decision((), 50.0)
    assert decide(plan, seen, 50.0).actions == (Start("a"),)
