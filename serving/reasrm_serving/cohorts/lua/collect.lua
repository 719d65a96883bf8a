-- ARGV: number, tokens. Their places are answered now. Returns the rewards, '' where there is none.
local rewards = {}
for i = 2, #ARGV do
  redis.call('hdel', key(ARGV[1], 'leases'), ARGV[i])
  local text_key = string.match(ARGV[i], '^[^.]*')
  rewards[i - 1] = redis.call('hget', key(ARGV[1], 'rewards'), text_key) or ''
end
return rewards
