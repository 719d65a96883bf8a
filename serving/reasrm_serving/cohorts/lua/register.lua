-- ARGV: token, key of the text, text, whether the caller named the rollout, size, wait ms, judge ms, lease ms, how many are recent,
-- ms that a failed cohort and a ranked one are kept, the number of a cohort that the gateway knows. Returns {number, role, token, members, ms to gather, ms left, failures, returns}.
local token, text_key, text, named = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1'
local size, wait, judge, lease = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
if ARGV[12] ~= '' and not get(ARGV[12], 'state') then return {ARGV[12], 'lost', token, 0, 0, 0, 0, 0} end
local recent = redis.call('lrange', name .. ':recent', 0, -1)

local function members(number)
  return tonumber(get(number, 'members') or 0)
end

local function place(number, role, at)
  local times = redis.call('hmget', key(number), 'gather_until', 'until', 'failures')
  local count = members(number) + redis.call('scard', key(number, 'late'))
  local returns = tonumber(redis.call('hget', key(number, 'returns'), at) or 0)
  return {number, role, at, count, tonumber(times[1]) - now, tonumber(times[2]) - now, tonumber(times[3]), returns}
end

local function own_place(number)
  if not get(number, 'state') then return nil end
  if redis.call('hexists', key(number, 'leases'), token) == 1 then return token end
  if named then return nil end
  local leases = redis.call('hgetall', key(number, 'leases'))
  for i = 1, #leases, 2 do
    if tonumber(leases[i + 1]) <= now and string.sub(leases[i], 1, #text_key + 1) == text_key .. '.' then return leases[i] end
  end
end

local function gathers(number)
  local state, count = get(number, 'state'), members(number)
  if state == 'failed' then return count < size and redis.call('exists', key(number, 'texts')) == 1 end
  return state == 'gathering' and count < size and now < tonumber(get(number, 'gather_until'))
end

local function misses(number)
  local state = get(number, 'state')
  if not state or state == 'failed' then return false end
  local gather_until = tonumber(get(number, 'gather_until'))
  local closed = state ~= 'gathering' or now >= gather_until
  local late = key(number, 'late')
  local room = redis.call('sismember', late, text_key) == 1 or members(number) + redis.call('scard', late) < size
  return closed and room and now < gather_until + wait
end

local function add(number)
  redis.call('hset', key(number, 'texts'), token, text)
  redis.call('hset', key(number), 'members', redis.call('hlen', key(number, 'texts')))
  keep(number, math.max(redis.call('pttl', key(number)), 1))
end

for i = #recent, 1, -1 do
  local own = own_place(recent[i])
  if own then
    redis.call('hset', key(recent[i], 'leases'), own, now + lease)
    redis.call('hincrby', key(recent[i], 'returns'), own, 1)
    keep(recent[i], math.max(redis.call('pttl', key(recent[i])), 1))
    return place(recent[i], 'member', own)
  end
end

local newest = recent[1]
local gathering = newest and gathers(newest) and newest or nil

for _, number in ipairs(recent) do
  if redis.call('hexists', key(number, 'rewards'), text_key) == 1 and get(number, 'state') == 'ranked' then
    if not named and gathering then
      add(gathering)
    elseif not named then
      local repeats = name .. ':repeats'
      redis.call('hset', repeats, token, text)
      redis.call('pexpire', repeats, wait)
      -- a whole cohort of repeats has all its rewards
      if redis.call('hlen', repeats) >= size then redis.call('del', repeats) end
    end
    return place(number, 'repeat', token)
  end
end

if newest and misses(newest) then
  redis.call('sadd', key(newest, 'late'), text_key)
  keep(newest, math.max(redis.call('pttl', key(newest)), 1))
  return place(newest, 'late', token)
end

if not gathering then
  gathering = tostring(math.max(now, tonumber(newest or 0) + 1))
  redis.call('hset', key(gathering), 'state', 'gathering', 'gather_until', now + wait, 'until', now + wait + judge, 'failures', 0,
    'size', size)
  if redis.call('exists', name .. ':repeats') == 1 then redis.call('rename', name .. ':repeats', key(gathering, 'texts')) end
  redis.call('lpush', name .. ':recent', gathering)
  redis.call('ltrim', name .. ':recent', 0, tonumber(ARGV[9]) - 1)
  redis.call('pexpire', name .. ':recent', wait + judge + tonumber(ARGV[11]))
  redis.call('pexpire', key(gathering), wait + judge + tonumber(ARGV[10]))
end
redis.call('hset', key(gathering, 'leases'), token, now + lease)
add(gathering)
return place(gathering, 'member', token)
