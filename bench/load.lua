-- What wrk sends. Arguments: action, prefix of the path, API key ("" for none), SKU count, seed,
-- requests a second over all threads (0: as fast as answers come), threads, file of paths to get.
local ffi = require("ffi")
ffi.cdef[[
  typedef struct { long tv_sec; long tv_usec; } sluice_timeval;
  int gettimeofday(sluice_timeval *tv, void *tz);
]]
local clock = ffi.new("sluice_timeval")
local thread_count = 0

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
  action, prefix, api_key = arguments[1], arguments[2], arguments[3]
  sku_count, seed = tonumber(arguments[4]), arguments[5]
  rate, refused, sent = tonumber(arguments[6]) / tonumber(arguments[7]), 0, 0
  -- Threads with the same dice would send the same keys.
  math.randomseed(id * 7919 + 1)
  headers = { ["Content-Type"] = "application/json" }
  if api_key ~= "" then headers["Authorization"] = "Bearer " .. api_key end
  paths = {}
  if arguments[8] then for path in io.lines(arguments[8]) do table.insert(paths, path) end end
  due = now_ms()
  if rate == 0 then delay = nil end
end

local function key()
  sent = sent + 1
  return seed .. "-" .. id .. "-" .. sent
end

local function sku()
  return "BENCH-" .. math.random(1, sku_count)
end

local function line()
  return '"lines":[{"sku":"' .. sku() .. '","quantity":1}]'
end

local make = {}

function make.sluice()
  headers["Idempotency-Key"] = key()
  return wrk.format("POST", prefix, headers, '{"customer":"c-17",' .. line() .. '}')
end

function make.peer()
  headers["Idempotency-Key"] = key()
  local body = '{"customer":"c-17","sku":"' .. sku() .. '","quantity":1}'
  return wrk.format("POST", prefix, headers, body)
end

function make.bulk()
  local orders = {}
  for n = 1, 100 do
    orders[n] = '{"idempotency_key":"' .. key() .. '","customer":"c-17",' .. line() .. '}'
  end
  return wrk.format("POST", prefix, headers, '{"orders":[' .. table.concat(orders, ",") .. ']}')
end

function make.get()
  return wrk.format("GET", paths[math.random(#paths)], headers)
end

function request()
  return make[action]()
end

-- Arrivals as a Poisson process, whatever the answers take: an open loop as long as one of the
-- connections is free.
function delay()
  if rate == 0 then return 0 end
  due = due - math.log(1 - math.random()) * 1000 / rate
  return math.max(0, due - now_ms())
end

function response(status, _, body)
  if status < 300 then return end
  refused = refused + 1
  refusal = status .. " " .. body
end

function done(summary, latency)
  local refused = 0
  for _, thread in ipairs(threads) do
    refused = refused + thread:get("refused")
    if thread:get("refusal") then io.write("REFUSAL " .. thread:get("refusal") .. "\n") end
  end
  local lost = summary.errors.connect + summary.errors.read + summary.errors.timeout
  io.write(string.format("RESULT %d %d %d %d %d %d %d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(95), latency:percentile(99), refused, lost))
end
