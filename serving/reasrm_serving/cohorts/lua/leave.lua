-- ARGV: number, token. The place is vacant.
if redis.call('hexists', key(ARGV[1], 'leases'), ARGV[2]) == 1 then
  redis.call('hset', key(ARGV[1], 'leases'), ARGV[2], 0)
end
return 1
