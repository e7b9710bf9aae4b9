-- One-line orders for wrk, each with a key of its own. Arguments: API key, SKU count, seed.
local thread_count = 0

function setup(thread)
  thread:set("id", thread_count)
  thread_count = thread_count + 1
  thread:set("refused", 0)
  threads = threads or {}
  table.insert(threads, thread)
end

function init(arguments)
  sku_count, seed, sent = tonumber(arguments[2]), arguments[3], 0
  math.randomseed(id * 7919 + 1)
  headers = {
    ["Authorization"] = "Bearer " .. arguments[1],
    ["Content-Type"] = "application/json",
  }
end

function request()
  sent = sent + 1
  headers["Idempotency-Key"] = seed .. "-" .. id .. "-" .. sent
  local sku = "BENCH-" .. math.random(1, sku_count)
  local body = '{"customer":"c-17","lines":[{"sku":"' .. sku .. '","quantity":1}]}'
  return wrk.format("POST", "/api/v1/orders", headers, body)
end

function response(status)
  if status ~= 201 then refused = refused + 1 end
end

function done(summary, latency)
  local refused = 0
  for _, thread in ipairs(threads) do refused = refused + thread:get("refused") end
  local lost = summary.errors.connect + summary.errors.read + summary.errors.timeout
  io.write(string.format("RESULT %d %d %d %d %d %d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(95), refused, lost))
end
