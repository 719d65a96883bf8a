-- ARGV: number, owner, lease ms. Only the owner renews: a claim that ran out may be another gateway's by now.
-- Where a lost cohort was restored meanwhile, it is still this owner's.
local stored = redis.call('hmget', key(ARGV[1]), 'state', 'owner')
if stored[1] == 'gathering' then
  redis.call('hset', key(ARGV[1]), 'state', 'ranking', 'owner', ARGV[2], 'claimed_until', now + tonumber(ARGV[3]))
elseif stored[1] == 'ranking' and stored[2] == ARGV[2] then
  redis.call('hset', key(ARGV[1]), 'claimed_until', now + tonumber(ARGV[3]))
end
return 1
