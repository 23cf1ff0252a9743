-- wrk's side of a round: sends the requests of one work and checks the body of every answer.
--
-- Arguments: the file of the request, in which @ID@ stands for the id of an inbox that is there and @NEW@ for text that
-- no other request has; how many inboxes are there; the start of such text; the Lua pattern that an answer must match,
-- and how often; and ID or NEW where that value must come back, with the pattern that finds it, else twice nothing.
-- All values of a placeholder are of one length, so that Content-Length holds.

local threads = {}
local waiting = {}
local sent = 0
local template, inboxes, nonce, pattern, times, key, capture

-- These are read by `done`, from another Lua state, and therefore global.
bad = 0
sample = ""

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  local file = assert(io.open(args[1], "rb"))
  template = file:read("*a")
  file:close()
  inboxes, nonce, pattern, times, key, capture = tonumber(args[2]), args[3], args[4], tonumber(args[5]), args[6], args[7]
end

function request()
  sent = sent + 1
  local values = {
    ID = string.format("inbox-%08d", math.random(0, inboxes - 1)),
    NEW = string.format("%s-%08d", nonce, sent),
  }
  if key ~= "" then
    waiting[values[key]] = (waiting[values[key]] or 0) + 1
  end
  return (template:gsub("@(%u+)@", values))
end

local function matches(body)
  local from = 1
  for _ = 1, times do
    local _, last = body:find(pattern, from)
    if not last then
      return false
    end
    from = last + 1
  end
  return not body:find(pattern, from)
end

local function was_asked_for(body)
  local value = body:match(capture)
  local left = value and waiting[value]
  if not left then
    return false
  end
  waiting[value] = left > 1 and left - 1 or nil
  return true
end

function response(status, _, body)
  if status == 200 and matches(body) and (key == "" or was_asked_for(body)) then
    return
  end
  bad = bad + 1
  if sample == "" then
    sample = status .. " " .. body
  end
end

function done(summary, latency, _)
  local errors = summary.errors
  local figures = {
    requests = summary.requests,
    microseconds = summary.duration,
    p50 = latency:percentile(50),
    p99 = latency:percentile(99),
    errors = errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    bad = threads[1]:get("bad"),
  }
  for name, figure in pairs(figures) do
    print(string.format("@%s %d", name, figure))
  end
  print("@sample " .. threads[1]:get("sample"):sub(1, 500):gsub("%s+", " "))
end
