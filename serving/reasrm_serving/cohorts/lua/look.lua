-- ARGV: number, lease ms, then tokens and whether a caller waits there, by turns. Returns {} where something is lost, or
-- {state, members, claimable, restored, failures, failure}.
local number, lease = ARGV[1], tonumber(ARGV[2])
local stored = redis.call('hmget', key(number), 'state', 'members', 'claimed_until', 'failures', 'failure', 'restored')
if not stored[1] then return {} end
for i = 3, #ARGV, 2 do
  if stored[1] == 'gathering' and redis.call('hexists', key(number, 'texts'), ARGV[i]) == 0 then return {} end
  if ARGV[i + 1] == '1' and redis.call('hexists', key(number, 'leases'), ARGV[i]) == 1 then
    redis.call('hset', key(number, 'leases'), ARGV[i], now + lease)
  end
end
local claimable = stored[1] == 'ranking' and tonumber(stored[3] or 0) <= now
return {stored[1], tonumber(stored[2] or 0), claimable and 1 or 0, stored[6] and 1 or 0, tonumber(stored[4] or 0), stored[5] or ''}
