#!/usr/bin/perl

# The operations of the MyAgent manager, as its scripts and console call them:
# their paths, what they send, and the members they read.

use warnings;
use strict;

use Test::More;
use FindBin;
use lib "$FindBin::Bin/lib";

use Test::Corral::Rest;

my $d = Test::Corral::Rest->new(
    myagent_command => "{python} $FindBin::Bin/../t/none.py",
)->start();

my $r;

sub has {
    my ($what, @members) = @_;
    is_deeply([ grep { !exists $r->{json}{$_} } @members ], [],
        "$what has all its members");
}

###############################################################################

$r = $d->call('GET', '/health', undef, Authorization => undef);
has('health', qw/status timestamp/);
is($r->{json}{status}, 'healthy', 'healthy');

$r = $d->call('GET', '/api/v1/info');
has('info', qw/name version description/);

# what its CLI sends: null and empty where nothing is said

$r = $d->call('POST', '/api/v1/services', { name => 'My.Agent_1',
    agent_factory_path => '/srv/agent.py', host => 'localhost', port => undef,
    description => '', tags => ['x', 'y', 'x'], auto_start => JSON::PP::false,
    max_sessions => 0, session_timeout => 1800, auto_restart => JSON::PP::true,
    max_restart_count => 3, health_check_enabled => JSON::PP::true });
is($r->{status}, 201, 'created');
has('a service', qw/service_id name description host port endpoint tags
    agent_type version status created_at started_at last_health_check
    error_message restart_count/);
is_deeply($r->{json}{tags}, [ 'x', 'y' ], 'tags are a set');
is($r->{json}{listen}, 'tcp', 'its agents listen on TCP');
is($r->{json}{status}, 'stopped', 'stopped');

my $id = $r->{json}{service_id};

$r = $d->call('POST', '/api/v1/services', { name => 'My.Agent_1',
    agent_factory_path => '/srv/agent.py' });
ok($r->{status} >= 400 && $r->{json}{detail}, 'an error has a detail');

$r = $d->call('POST', '/api/v1/services', { name => 'r',
    agent_factory_path => 'agents/a.py' });
like($r->{json}{agent_factory_path}, qr{^/.*/agents/a\.py$},
    'a relative path is taken from where corrald was started');
$d->call('DELETE', '/api/v1/services/r');

$r = $d->call('GET', '/api/v1/services?tags=y,z&limit=10&offset=0');
has('a list', qw/items total limit offset has_more/);
is($r->{json}{total}, 1, 'any of the tags');
is($d->call('GET', '/api/v1/services?tags=z')->{json}{total}, 0, 'or none');
is($d->call('GET', '/api/v1/services?status=stopped')->{json}{total}, 1,
    'by status');

is($d->call('GET', "/api/v1/services/$id")->{json}{name}, 'My.Agent_1',
    'one');

$r = $d->call('PUT', "/api/v1/services/$id", { description => 'new',
    tags => undef, max_sessions => 7, session_timeout => undef });
is($r->{status}, 200, 'changed');
is("$r->{json}{description} $r->{json}{max_sessions} @{ $r->{json}{tags} }",
    'new 7 x y', 'null is: not said');

$r = $d->call('POST', "/api/v1/services/$id/start?timeout=1s");
ok($r->{status} == 200 || $r->{status} == 400, 'start answers');
like($r->{json}{message} // $r->{json}{detail},
    qr/^(?:Service is starting|Failed to start service)/, 'with its sentence');

$r = $d->call('POST', "/api/v1/services/$id/stop");
is($r->{status}, 200, 'stop');
is_deeply($r->{json}, { success => JSON::PP::true, data => undef,
    message => 'Service stopped successfully' }, 'with its answer');

is($d->call('POST', '/api/v1/services/nobody/start')->{status}, 404,
    'nobody to start');

$r = $d->call('GET', "/api/v1/services/$id/stats");
has('stats', qw/total_connections active_connections peak_connections
    total_sessions active_sessions completed_sessions failed_sessions
    avg_session_duration avg_response_time memory_usage_mb cpu_usage_percent
    error_count error_rate uptime_seconds/);

$r = $d->call('GET', "/api/v1/services/$id/health");
has('health of a service', qw/service_id timestamp status response_time_ms
    checks error_message/);
is_deeply([ sort keys %{ $r->{json}{checks}{status} } ],
    [ qw/duration_ms message metadata name status/ ], 'members of a check');

$r = $d->call('GET', '/api/v1/connections');
has('connections', qw/items total limit offset has_more/);

$r = $d->call('DELETE', '/api/v1/connections/nobody');
is("$r->{status} $r->{json}{detail}", '404 Connection not found',
    'no connection');

$r = $d->call('GET', '/api/v1/stats');
has('stats of all', qw/services connections health/);
is_deeply([ grep { !exists $r->{json}{services}{$_} }
    qw/total running stopped error unhealthy/ ], [], 'services by status');
is($r->{json}{services}{total}, 1, 'true ones');

$r = $d->call('DELETE', "/api/v1/services/$id");
is("$r->{status} $r->{json}{message}", '200 Service deleted successfully',
    'deleted');

###############################################################################

# rules: what its API takes, and the conditions that it dropped

$r = $d->call('POST', '/api/v1/routing/rules', { name => 'vip',
    priority => 10, enabled => JSON::PP::true,
    target_strategy => 'round_robin', target_services => [],
    target_tags => [ 'x' ], weight => 1, description => 'for them',
    fallback_strategy => 'random', conditions => [
        { field => 'client_ip', operator => 'equals', value => '10.0.0.1' },
        { field => 'X-Tier', operator => 'in_list', value => 'gold,silver',
            case_sensitive => JSON::PP::false } ] });
is($r->{status}, 201, 'a rule');
like($r->{headers}{warning}, qr/ignored: fallback_strategy/, 'its Warning');
has('a rule', qw/rule_id name priority enabled target_strategy target_services
    target_tags weight description created_at updated_at/);
is(join(' ', map { $_->{field} } @{ $r->{json}{conditions} }),
    'client_ip request.X-Tier', 'flat names keep to their places');

$r = $d->call('POST', '/api/v1/routing/rules', { name => 'vip' });
is($r->{status}, 409, 'a second rule of the same name replaces nothing');

# its console: strategy, and conditions as a map

$r = $d->call('POST', '/api/v1/routing/rules', { name => 'console',
    enabled => JSON::PP::false, strategy => 'hash_based',
    conditions => { user_agent => 'x' } });
is("$r->{json}{target_strategy} $r->{json}{conditions}[0]{operator}",
    'hash_based equals', 'a rule of its console');

is($d->call('GET', '/api/v1/routing/rules')->{json}{total}, 1,
    'only enabled rules unless asked otherwise');
is($d->call('GET', '/api/v1/routing/rules?enabled_only=false')->{json}{total},
    2, 'all rules');

$d->call('POST', '/api/v1/services', { name => 'target', tags => [ 'x' ],
    agent_factory_path => '/srv/agent.py' });

$r = $d->call('POST', '/api/v1/routes/actions/test', { path => '/',
    client_ip => '10.0.0.1', query => { client_ip => 'x', 'X-Tier' => 'Gold' } });
is($r->{json}{matched}{name}, 'vip', 'conditions are honoured');
$r = $d->call('POST', '/api/v1/routes/actions/test', { path => '/',
    client_ip => '9.9.9.9', query => { client_ip => '10.0.0.1',
    'X-Tier' => 'Gold' } });
is($r->{json}{matched}, undef, 'and an argument is no client_ip');

$d->finish();

done_testing();
