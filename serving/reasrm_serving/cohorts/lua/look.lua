-- ARGV: number, lease ms, tokens whose callers wait here. Returns {} or {state, members, claimable, failures, failure}.
local number, lease = ARGV[1], tonumber(ARGV[2])
local stored = redis.call('hmget', key(number), 'state', 'members', 'claimed_until', 'failures', 'failure')
if not stored[1] then return {} end
for i = 3, #ARGV do
  if redis.call('hexists', key(number, 'leases'), ARGV[i]) == 1 then
    redis.call('hset', key(number, 'leases'), ARGV[i], now + lease)
  end
end
local claimable = stored[1] == 'ranking' and tonumber(stored[3] or 0) <= now
return {stored[1], tonumber(stored[2] or 0), claimable and 1 or 0, tonumber(stored[4] or 0), stored[5] or ''}
