-- Put before every script here. KEYS[1] is the name of the cohorts; see store.py for their states.
-- A cohort is the hash NAME:NUMBER, with NAME:NUMBER:texts (by token), :leases (by token: until when a caller waits, in ms; none
-- for answered places), :returns (by token), :late (keys), :rewards (by key) and :pivot.
-- NAME:recent lists the numbers, newest first; NAME:repeats holds the texts that will count in the next cohort.
local name = KEYS[1]
local time = redis.call('time')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local PARTS = {'texts', 'leases', 'returns', 'late', 'rewards', 'pivot'}

local function key(number, part)
  return name .. ':' .. number .. (part and ':' .. part or '')
end

local function get(number, field)
  return redis.call('hget', key(number), field)
end

local function keep(number, ms)
  redis.call('pexpire', key(number), ms)
  for _, part in ipairs(PARTS) do redis.call('pexpire', key(number, part), ms) end
end
