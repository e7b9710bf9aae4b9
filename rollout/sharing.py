"""
Breaker states of the whole fleet, shared through Redis and off the path of requests.

Local memory decides; Redis only spreads knowledge. Every quarter of a second each worker sends
what its breakers counted, in one call, and learns what the fleet made of it. When Redis is gone
each worker goes on alone; when it comes back empty, the workers tell it what they know.
"""

import json
import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import redis

from rollout import announcing
from rollout.breaker import CLOSED, STATE_NAMES, Breaker, Report, Transition
from rollout.policies import BACKOFF_MS_MAX, CONSECUTIVE_ERRORS
from rollout.runtime import Runtime

SYNC_MS = 250
FAILURES_MAX = 3
RETRY_S_MAX = 10.0
LIVE_MS = 5_000

log = logging.getLogger("rollout")

# One call for all breakers of one worker. Times are Redis's own, told as what remains of them.
# Whatever a key holds that nobody here wrote counts as absent; every write is fenced by the epoch.
SYNC = """
local prefix, request = ARGV[1], cjson.decode(ARGV[2])
local worker = request.worker
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local function safely(command, key, ...)
  local answer = redis.pcall(command, key, ...)
  if type(answer) == 'table' and answer.err then
    redis.call('DEL', key)
    answer = redis.call(command, key, ...)
  end
  return answer
end

local function number(text, least, most)
  local found = tonumber(text)
  if found and found >= least and found <= most and found == math.floor(found) then
    return found
  end
end

local workers = prefix .. ':workers'
safely('ZADD', workers, now, worker)
redis.call('PEXPIRE', workers, 60000)
redis.call('ZREMRANGEBYSCORE', workers, '-inf', now - request.live_ms)
local live = redis.call('ZCARD', workers)
local quorum = live == 1 and 1 or math.max(2, math.ceil(live / 2))

local function is_met(b, total, errors, slow)
  for _, rule in ipairs(b.rules) do
    local bad = rule[1] == 'SlowRequestRatio' and slow or errors
    local needed = rule[1] == 'ErrorCount' and rule[2] or rule[2] * total - 1e-8
    if bad > 0 and bad >= needed then return true end
  end
  return false
end

local function window_key(b, epoch, start)
  return prefix .. ':win:' .. b.key .. ':' .. epoch .. ':' .. start
end

local function add_counts(b, epoch)
  if b.total + b.errors + b.slow == 0 then return end
  local key = window_key(b, epoch, now - now % b.bucket_ms)
  local counts = {total = b.total, errors = b.errors, slow = b.slow}
  for name, count in pairs(counts) do
    if count > 0 then
      safely('HINCRBY', key, name, count)
      safely('HINCRBY', key, worker .. '|' .. name, count)
    end
  end
  redis.call('PEXPIRE', key, 2 * b.interval_ms)
end

local function is_window_bad(b, epoch)
  local total, errors, slow, keys = 0, 0, 0, {}
  local newest = now - now % b.bucket_ms
  for start = newest, newest - b.interval_ms + b.bucket_ms, -b.bucket_ms do
    local key = window_key(b, epoch, start)
    local counts = safely('HMGET', key, 'total', 'errors', 'slow')
    total = total + (tonumber(counts[1]) or 0)
    errors = errors + (tonumber(counts[2]) or 0)
    slow = slow + (tonumber(counts[3]) or 0)
    keys[#keys + 1] = key
  end
  if total < b.min_requests or not is_met(b, total, errors, slow) then return false end
  if live < 3 then return true end
  -- One sick worker must not open the fleet: it has to be bad without its worst as well.
  local each = {}
  for _, key in ipairs(keys) do
    local pairs_ = safely('HGETALL', key)
    for i = 1, #pairs_, 2 do
      local who, name = string.match(pairs_[i], '^(.*)|(%a+)$')
      if who then
        each[who] = each[who] or {total = 0, errors = 0, slow = 0}
        each[who][name] = (each[who][name] or 0) + (tonumber(pairs_[i + 1]) or 0)
      end
    end
  end
  for _, one in pairs(each) do
    if not is_met(b, total - one.total, errors - one.errors, slow - one.slow) then
      return false
    end
  end
  return true
end

local function retry_ms(b, fails)
  local longest = math.max(b.backoff_ms_max, b.retry_ms)
  local grown = math.min(b.retry_ms * b.backoff ^ math.min(fails, 64), longest)
  return math.max(1, math.floor(grown * b.spread))
end

local answers = {}
for i, b in ipairs(request.breakers) do
  local key = prefix .. ':brk:' .. b.key
  local told = safely('HMGET', key, 'state', 'epoch', 'retry_at', 'fails', 'good')
  local state, epoch = number(told[1], 0, 2), number(told[2], 0, 2^50)
  local retry_at, fails = number(told[3], 0, 2^50) or 0, number(told[4], 0, 1000000) or 0
  local good = number(told[5], 0, 1000000) or 0
  local is_changed = false
  if not state or not epoch or epoch < b.epoch then
    -- Empty, or older than what this worker has seen: a flush or a failover closes nothing.
    state, epoch = b.state, math.max(b.epoch, 0)
    retry_at, fails, good, is_changed = now + b.retry_in_ms, b.fails, 0, true
  end
  local is_mine = b.epoch == epoch
  local function move(to)
    state, epoch, good, is_changed = to, epoch + 1, 0, true
  end
  local function reopen()
    fails = fails + 1
    retry_at = now + retry_ms(b, fails)
    move(2)
  end
  local granted = 0
  if state == 0 then
    if is_mine or b.epoch < 0 then add_counts(b, epoch) end
    local votes_key = prefix .. ':vote:' .. b.key .. ':' .. epoch
    local votes = 0
    if b.is_open_alone then
      safely('ZADD', votes_key, now, worker)
      redis.call('PEXPIRE', votes_key, request.live_ms)
      votes = redis.call('ZCOUNT', votes_key, now - request.live_ms, '+inf')
    end
    if votes >= quorum or is_window_bad(b, epoch) then
      fails = 0
      retry_at = now + retry_ms(b, 0)
      move(2)
    end
  elseif state == 2 and now >= retry_at then
    move(1)
  elseif state == 1 then
    local leases = prefix .. ':lease:' .. b.key .. ':' .. epoch
    if is_mine then
      for _, lease in ipairs(b.released) do safely('ZREM', leases, lease) end
    end
    local lost = safely('ZCOUNT', leases, '-inf', now)
    if (is_mine and b.bad_probes > 0) or lost > 0 then
      reopen()
    else
      if is_mine and b.good_probes > 0 then good, is_changed = good + b.good_probes, true end
      if good >= b.probe_num then
        fails = 0
        move(0)
      elseif is_mine and b.wants_probe then
        local alive = redis.call('ZCARD', leases)
        if alive < b.probes_at_once and alive + good < b.probe_num then
          redis.call('ZADD', leases, now + b.lease_ms, b.next_lease)
          redis.call('PEXPIRE', leases, b.lease_ms + 60000)
          granted = 1
        end
      end
    end
  end
  if is_changed then
    safely('HSET', key, 'state', state, 'epoch', epoch, 'retry_at', retry_at, 'fails', fails,
           'good', good, 'by', worker)
    redis.call('PUBLISH', prefix .. ':breakers', b.key .. ':' .. epoch .. ':' .. state)
  end
  redis.call('PEXPIRE', key, 24 * 3600 * 1000)
  answers[i] = {state, epoch, math.max(0, retry_at - now), granted, fails}
end
return cjson.encode({live = live, breakers = answers})
"""


@dataclass(slots=True)
class Known:
    """What this worker knows of the fleet's state of one breaker."""

    epoch: int = -1
    state: int = CLOSED
    retry_at_s: float = 0.0
    fails: int = 0
    leases: list[str] = field(default_factory=list)


class Sharer:
    """Shares one process's breakers with the fleet, and looks at the clock for them."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        worker: str,
        connect: Callable[[], "redis.Redis | None"] = announcing.client,
        clock_s: Callable[[], float] = time.monotonic,
        on_transition: Callable[[Transition], object] = lambda _: None,
    ) -> None:
        self.runtime = runtime
        self.worker = worker
        self.is_degraded = False
        self.live_workers = 1
        self._connect = connect
        self._clock_s = clock_s
        self._on_transition = on_transition
        self._known: dict[tuple[str, str], Known] = {}
        self._failures = 0
        self._leases_asked = 0
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to share."""
        self._thread = threading.Thread(target=self._run, name="rollout_share", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def wake(self) -> None:
        """Share at once: another worker told of a change."""
        self._woken.set()

    def _run(self) -> None:
        next_sync_s, is_woken = 0.0, False
        while not self._stopping.is_set():
            try:
                self.tick()
                if self._clock_s() >= next_sync_s or (is_woken and not self.is_degraded):
                    self.sync()
                    next_sync_s = self._clock_s() + self._pause_s()
            except Exception:
                # A thread that dies in silence would leave breakers alone for ever.
                log.exception("sharing breakers failed")
            is_woken = self._woken.wait(SYNC_MS / 1000 * (0.9 + 0.2 * random.random()))
            self._woken.clear()

    def _pause_s(self) -> float:
        if not self.is_degraded:
            return 0.0  # at every tick
        grown = 0.5 * 2.0 ** min(self._failures - FAILURES_MAX, 10)
        return min(grown, RETRY_S_MAX) * (0.9 + 0.2 * random.random())

    def tick(self) -> None:
        """Let breakers notice what hangs, show how they stand, and log what they did."""
        for breaker in list(self.runtime.breakers.values()):
            breaker.tick()
        self.runtime.measure(is_degraded=self.is_degraded)
        transitions = self.runtime.transitions
        while transitions:
            told = transitions.popleft()
            log.warning(
                "breaker of %s %s: %s -> %s (%s; %d calls, %d errors, %d slow)",
                told.path,
                told.version,
                STATE_NAMES[told.from_state],
                STATE_NAMES[told.to_state],
                told.cause,
                told.total,
                told.errors,
                told.slow,
            )
            self._on_transition(told)

    def sync(self) -> bool:
        """Send what was counted and do as the fleet does; return False when Redis is lost."""
        connection = self._connect()
        if connection is None:
            return False
        breakers = [
            breaker
            for breaker in list(self.runtime.breakers.values())
            if breaker.policy.mode == "auto"
        ]
        told = [self._told(breaker, breaker.report()) for breaker in breakers]
        request = {"worker": self.worker, "live_ms": LIVE_MS, "breakers": told}
        try:
            answer = json.loads(
                connection.eval(
                    SYNC, 1, announcing.key("workers"), announcing.key("")[:-1], json.dumps(request)
                )
            )
        except (redis.RedisError, OSError, ValueError) as failure:
            self._fail(str(failure))
            return False
        self._recover()
        self.live_workers = max(1, int(answer["live"]))
        for breaker, sent, one in zip(breakers, told, answer["breakers"], strict=True):
            self._follow(breaker, sent, one)
        return True

    def _told(self, breaker: Breaker, report: Report) -> dict[str, Any]:
        policy = breaker.policy
        known = self._known.setdefault((breaker.path, breaker.version), Known())
        # Grants that were not used and probes that ended free their leases; which is all the same.
        released, known.leases = (
            known.leases[report.probes_in_flight :],
            known.leases[: report.probes_in_flight],
        )
        self._leases_asked += 1
        return {
            "key": f"{breaker.path}:{breaker.version}",
            "interval_ms": policy.stat_interval_ms,
            "bucket_ms": policy.stat_interval_ms // policy.stat_sliding_window_bucket_count,
            "min_requests": policy.min_request_amount,
            # A row of errors has no meaning over many workers; there votes count.
            "rules": [
                [rule.strategy, rule.threshold]
                for rule in policy.rules
                if rule.strategy != CONSECUTIVE_ERRORS
            ],
            "retry_ms": policy.retry_timeout_ms,
            "backoff": policy.retry_backoff_multiplier,
            "backoff_ms_max": BACKOFF_MS_MAX,
            "spread": 1 + policy.retry_jitter * (2 * random.random() - 1),
            "lease_ms": policy.lease_ms + 2 * SYNC_MS,
            "probe_num": policy.probe_num,
            "probes_at_once": policy.max_concurrent_probes,
            "total": report.total,
            "errors": report.errors,
            "slow": report.slow,
            "good_probes": report.good_probes,
            "bad_probes": report.bad_probes,
            "is_open_alone": report.is_open_alone,
            "wants_probe": report.refused > 0,
            "released": released,
            "next_lease": f"{self.worker}|{self._leases_asked}",
            "epoch": known.epoch,
            "state": known.state,
            "fails": known.fails,
            "retry_in_ms": max(0, int((known.retry_at_s - self._clock_s()) * 1000)),
        }

    def _follow(self, breaker: Breaker, sent: dict[str, Any], answer: list[int]) -> None:
        state, epoch, retry_in_ms, granted, fails = (int(number) for number in answer)
        known = self._known[breaker.path, breaker.version]
        if epoch != known.epoch:
            known.leases = []
        if granted:
            known.leases.append(sent["next_lease"])
        known.epoch, known.state, known.fails = epoch, state, fails
        known.retry_at_s = self._clock_s() + retry_in_ms / 1000
        breaker.follow(state, retry_in_ms=retry_in_ms, granted_probes=granted)

    def _fail(self, why: str) -> None:
        self._failures += 1
        if self._failures < FAILURES_MAX:
            return
        if not self.is_degraded:
            self.is_degraded = True
            log.warning("breakers are not shared any more: %s", why)
        for breaker in list(self.runtime.breakers.values()):
            breaker.go_alone(1 / self.live_workers)

    def _recover(self) -> None:
        self._failures = 0
        if self.is_degraded:
            self.is_degraded = False
            log.info("breakers are shared again")
