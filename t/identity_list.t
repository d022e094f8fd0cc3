#!/usr/bin/perl

# Tests for who the client is, seen from outside: the list of connections, closes
# by tenant and subject, and the revocation of a subject.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Store;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()
    ->has(qw/corral corral_redis corral_websocket redis-server/);
my $agent = $t->agent(id => 'a', socket => 'a.sock');
my $redis = $t->redis();
my $store = Test::Corral::Store->new($redis);

$t->write_file_expand('nginx.conf', <<"EOF")->plan(16);

%%TEST_GLOBALS%%

worker_processes  2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone   corral 4m;
    corral_redis  "unix:$redis";

    upstream agents {
        corral;
    }

    limit_conn_zone  \$server_port  zone=conns:1m;

    server {
        listen  127.0.0.1:8080;

        proxy_http_version    1.1;
        proxy_set_header      Connection "";
        corral_service_from   query;
        corral_tenant         \$arg_tenant;
        corral_subject        \$arg_sub;

        location / {
            corral_websocket  agents;
            proxy_pass        http://agents;
        }

        location /kept {
            limit_conn        conns 100;
            corral_websocket  agents;
        }

        location = /status {
            corral_service  off;
            corral_status;
        }
    }
}

EOF

$store->epoch('first');
$store->commit($store->service('s'),
    $store->instance('s', 'a', $agent->address()));
$t->run();
$store->wait_acks(2, 1) // die "The gateway does not follow\n";

###############################################################################

my $long = 's' x 200;
my %ws = (ann => open_ws('/', 'tenant=acme&sub=ann'),
    bob => open_ws('/', 'tenant=acme&sub=bob'),
    kept => open_ws('/kept', 'tenant=umbrella&sub=eve'),
    long => open_ws('/', "sub=$long"), nobody => open_ws('/', ''));

# as it is listed

ok(wait_for(sub { $store->connections() == 5 }, 10), 'all are listed');

my %listed = map { ($_->{tenant} // '') . '/' . ($_->{subject} // '') => 1 }
    $store->connections();
is_deeply([ sort keys %listed ],
    [ '/', "/$long", 'acme/ann', 'acme/bob', 'umbrella/eve' ],
    'with tenant and subject');
is(scalar(grep { !defined $_->{tenant} && !defined $_->{subject} }
    $store->connections()), 1, 'nobody is null');

# as it is chosen

is(matched('{"tenant":"acme"}'), 2, 'by tenant');
is(matched('{"subject":"eve"}'), 1, 'by subject');
is(matched('{"tenant":"acme","subject":"eve"}'), 0, 'by both');
is(matched('{"subject":"an"}'), 0, 'a part is not enough');

my $closed = 0;
$closed += $_->{closed} for $store->order(2, op => 'close', code => 4000,
    reason => 'bye', filter => '{"tenant":"umbrella"}');
is($closed, 1, 'closed by tenant');
is($ws{kept}->close_code(), 4000, 'it is the one');

# revoked

revoke('subject:ann');
is($ws{ann}->close_code(), 4401, 'a subject that is revoked');
is($ws{bob}->ask('still'), 'still', 'others go on');
ok(wait_for(sub { !grep { status_of('tenant=acme&sub=ann') != 401 } 1 .. 20 },
    15), 'it is refused');
is(status_of('tenant=acme&sub=bob') . status_of(''), 200 x 2, 'nobody else');

revoke("subject:$long");
is($ws{long}->close_code(), 4401, 'the longest there is can be revoked');

# and listed no more

ok(wait_for(sub { $store->connections() == 2 }, 10), 'they are gone');
is(join(' ', sort map { $_->{subject} // '-' } $store->connections()), '- bob',
    'the others are there');

$_->close() for @ws{qw/bob nobody/};

###############################################################################

my $n;

sub revoke {
    my ($name) = @_;
    $store->command('ZADD', $store->key('revocations'), time() + 3600, $name);
    $store->command('SET', $store->key('revoked'),
        '0123456789abcdef.' . ++$n);
}

sub matched {
    my ($filter) = @_;
    my $sum = 0;
    $sum += $_->{matched} for $store->order(2, op => 'close', code => 1000,
        dry_run => 1, filter => $filter);
    return $sum;
}

sub open_ws {
    my ($path, $query) = @_;
    my $ws = $t->websocket("$path?service=s&$query", timeout => 10);
    die 'no handshake: ' . $ws->head() unless $ws->accepted();
    $ws->ask('!id');
    return $ws;
}

sub status_of {
    my ($query) = @_;
    return http_get("/?service=s&$query") =~ m!^HTTP/1.1 (\d+)! ? $1 : 0;
}

###############################################################################
