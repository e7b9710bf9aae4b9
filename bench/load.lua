-- What wrk sends. Arguments, name=value: action; prefix of the path; key of the API ("" for none);
-- skus, how many; lines of an order; seed; rate, requests a second over all threads (0: as fast as
-- answers come); threads; patient, yes to wait a second after a refusal; paths, a file of what to
-- get.
local ffi = require("ffi")
ffi.cdef[[
  typedef struct { long tv_sec; long tv_usec; } sluice_timeval;
  int gettimeofday(sluice_timeval *tv, void *tz);
]]
local clock = ffi.new("sluice_timeval")
local thread_count = 0
local CUSTOMERS = 50000

local function now_ms()
  ffi.C.gettimeofday(clock, nil)
  return tonumber(clock.tv_sec) * 1000 + tonumber(clock.tv_usec) / 1000
end

function setup(thread)
  thread:set("id", thread_count)
  thread_count = thread_count + 1
  threads = threads or {}
  table.insert(threads, thread)
end

function init(arguments)
  local told = {}
  for _, argument in ipairs(arguments) do
    local name, value = argument:match("^(%w+)=(.*)$")
    told[name] = value
  end
  action, prefix, seed = told.action, told.prefix, told.seed
  sku_count, line_count = tonumber(told.skus), tonumber(told.lines)
  rate, refused, sent = tonumber(told.rate) / tonumber(told.threads), 0, 0
  -- Threads with the same dice would send the same keys.
  math.randomseed(id * 7919 + 1)
  headers = { ["Content-Type"] = "application/json" }
  if told.key ~= "" then headers["Authorization"] = "Bearer " .. told.key end
  paths = {}
  if told.paths then for path in io.lines(told.paths) do table.insert(paths, path) end end
  due, waiting, first, last = now_ms(), {}, 1, 0
  began, took, late = {}, {}, 0
  backing_off = 0
  if rate == 0 and told.patient ~= "yes" then delay = nil end
end

-- As the random keys of real callers: each goes somewhere else in an index.
local function key()
  return string.format("%08x-%s-%d-%d", math.random(0, 4294967295), seed, id, sent)
end

local function customer()
  -- At a fixed rate it tells which answer belongs to which request: all services say it again.
  if rate > 0 then return "c-" .. sent % CUSTOMERS end
  return "c-" .. math.random(CUSTOMERS)
end

local function sku()
  return "BENCH-" .. math.random(1, sku_count)
end

local function lines()
  if line_count == 1 then return '"lines":[{"sku":"' .. sku() .. '","quantity":1}]' end
  local some = {}
  for n = 1, line_count do some[n] = '{"sku":"' .. sku() .. '","quantity":1}' end
  return '"lines":[' .. table.concat(some, ",") .. ']'
end

local make = {}

function make.sluice()
  headers["Idempotency-Key"] = key()
  return wrk.format("POST", prefix, headers, '{"customer":"' .. customer() .. '",' .. lines() .. '}')
end

function make.peer()
  headers["Idempotency-Key"] = key()
  local body = '{"customer":"' .. customer() .. '","sku":"' .. sku() .. '","quantity":1}'
  return wrk.format("POST", prefix, headers, body)
end

function make.bulk()
  local orders = {}
  for n = 1, 100 do
    sent = sent + 1
    orders[n] = '{"idempotency_key":"' .. key() .. '","customer":"' .. customer() .. '",' .. lines() .. '}'
  end
  return wrk.format("POST", prefix, headers, '{"orders":[' .. table.concat(orders, ",") .. ']}')
end

function make.get()
  return wrk.format("GET", paths[math.random(#paths)], headers)
end

function request()
  sent = sent + 1
  if last >= first then
    -- Requests go in the order in which they were due. One that the timer sent within its
    -- resolution counts from now; one that found no free connection, or no free core, from when
    -- it was due.
    local now, was_due = now_ms(), waiting[first]
    waiting[first] = nil
    first = first + 1
    if now - was_due > 1.5 then late = late + 1 else was_due = now end
    began[sent % CUSTOMERS] = was_due
  end
  return make[action]()
end

-- Arrivals as a Poisson process, whatever the answers take: an open loop.
function delay()
  if rate == 0 then
    -- Not always the connection that was refused, but as many of them.
    if backing_off == 0 then return 0 end
    backing_off = backing_off - 1
    return 1000
  end
  due = due - math.log(1 - math.random()) * 1000 / rate
  last = last + 1
  waiting[last] = due
  return math.max(0, due - now_ms())
end

function response(status, _, body)
  if status >= 300 then
    refused, backing_off = refused + 1, backing_off + 1
    refusal = status .. " " .. body
  elseif rate > 0 then
    local number = tonumber(body:match('"customer": ?"c%-(%d+)"'))
    took[#took + 1] = now_ms() - began[number]
  end
end

local function percentiles(latency)
  local all = {}
  for _, thread in ipairs(threads) do
    for _, ms in ipairs(thread:get("took")) do table.insert(all, ms * 1000) end
  end
  table.sort(all)
  local function percentile(p)
    if #all == 0 then return latency:percentile(p) end
    return all[math.max(1, math.ceil(#all * p / 100))]
  end
  return percentile(50), percentile(95), percentile(99)
end

function done(summary, latency)
  local refused, late = 0, 0
  for _, thread in ipairs(threads) do
    refused = refused + thread:get("refused")
    late = late + thread:get("late")
    if thread:get("refusal") then io.write("REFUSAL " .. thread:get("refusal") .. "\n") end
  end
  local lost = summary.errors.connect + summary.errors.read + summary.errors.timeout
  local p50, p95, p99 = percentiles(latency)
  io.write(string.format("RESULT %d %d %d %d %d %d %d %d\n", summary.requests, summary.duration,
    p50, p95, p99, refused, lost, late))
end
