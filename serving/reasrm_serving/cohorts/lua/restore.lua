-- ARGV: number, size, ms to gather, ms left, ms kept after that, lease ms, then token, text and whether a caller waits, by turns.
-- Gateways restore one cohort one after the other. Where another one was opened in between, the older one takes the places of both,
-- all vacant: callers who are told to come again find them. Returns the number of the cohort that has the places.
local number, gather, left = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local others = {}
for _, other in ipairs(redis.call('lrange', name .. ':recent', 0, -1)) do
  if other ~= number and get(other, 'state') == 'gathering' then table.insert(others, other) end
end

local target = number
for _, other in ipairs(others) do
  if tonumber(other) < tonumber(target) then target = other end
end

if not get(target, 'state') then
  redis.call('hset', key(target), 'state', 'gathering', 'gather_until', now + gather, 'until', now + left, 'failures', 0,
    'size', ARGV[2], 'members', 0, 'restored', 1)
  redis.call('pexpire', key(target), math.max(left, 0) + tonumber(ARGV[5]))
  redis.call('rpush', name .. ':recent', target)
  redis.call('pexpire', name .. ':recent', math.max(redis.call('pttl', name .. ':recent'), math.max(left, 0) + tonumber(ARGV[5])))
end

local function put(token, text, lease)
  if redis.call('hsetnx', key(target, 'texts'), token, text) == 1 then redis.call('hset', key(target, 'leases'), token, lease) end
end

if get(target, 'state') ~= 'ranked' then
  for i = 7, #ARGV, 3 do
    put(ARGV[i], ARGV[i + 1], ARGV[i + 2] == '1' and target == number and now + tonumber(ARGV[6]) or 0)
  end
  for _, other in ipairs(others) do
    if other ~= target and target == number then
      local texts = redis.call('hgetall', key(other, 'texts'))
      for i = 1, #texts, 2 do put(texts[i], texts[i + 1], 0) end
      redis.call('del', key(other), key(other, 'texts'), key(other, 'leases'), key(other, 'returns'))
      redis.call('lrem', name .. ':recent', 0, other)
    end
  end
  redis.call('hset', key(target), 'members', redis.call('hlen', key(target, 'texts')))
end
keep(target, math.max(redis.call('pttl', key(target)), 1))
return target
