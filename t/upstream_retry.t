#!/usr/bin/perl

# Tests for retries, passive ejection and the return of an instance: no client
# sees a dead one.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corral_status/);

my @agents = map {
    $t->agent(id => "echo.$_", port => 8080 + $_)
} 1 .. 3;

my @echo = map { $_->instance('echo') } @agents;

$t->state_file(
    services => [
        { name => 'echo', fail_timeout => '400ms', max_fails => 3 },
        { name => 'twice', tries => 2 },
        { name => 'never', max_fails => 0 },
    ],
    instances => [ @echo, map {
        my $service = $_;
        map { $_->instance($service, id => $_->id() =~ s/echo/$service/r) }
            @agents
    } qw/twice never/ ]);

$t->write_file_expand('nginx.conf', <<'EOF')->plan(25);

%%TEST_GLOBALS%%

worker_processes  2;

events {
}

http {
    %%TEST_GLOBALS_HTTP%%

    corral_zone        corral 4m;
    corral_state_file  %%TESTDIR%%/gateway.state;

    log_format  tries  '$corral_instance $status $upstream_addr '
                       '[$upstream_status]';
    access_log  %%TESTDIR%%/tries.log  tries;

    upstream agents {
        corral;
    }

    server {
        listen  127.0.0.1:8080;

        proxy_http_version   1.1;
        proxy_set_header     Connection "";
        proxy_next_upstream  error timeout http_503;
        corral_service_from  query;

        # newer nginx keeps connections unless told otherwise, and these agents
        # refuse only new ones

        location / {
            proxy_pass        http://agents;
            proxy_set_header  Connection close;
        }

        location = /status {
            corral_service  off;
            corral_status;
            access_log      off;
        }
    }
}

EOF

$t->run()->wait_for_revision(1);

###############################################################################

# an instance that refuses: the next one is tried, the client does not notice

$agents[1]->refuse();

is(ok_of(9, '/?service=echo'), 9, 'all answered');
like($t->read_file('tries.log'),
    qr/^echo\.[13] 200 \S+, \S+ \[502, 200\]$/m, 'tries logged');

# after one refusal it is left alone

my $instance = $t->instance('echo.2');

is($instance->{availability}, 'ejected', 'ejected at once');
is($instance->{ejections}, 1, 'counted');
is($instance->{failures}, 1, 'failed once only');
like($t->read_file('error.log'),
    qr/\[warn\].*instance "echo.2" of service "echo"/, 'logged');
is($t->instance('echo.1')->{availability}, 'available', 'others are available');

# it comes back: one request tries it when its rest is over

$agents[1]->listen();

ok(wait_for(sub { got('/?service=echo') eq 'echo.2' }), 'tried again');
ok(wait_for(sub { $t->instance('echo.2')->{availability} eq 'available' }),
    'available again');

my %seen;
$seen{got('/?service=echo')}++ for 1 .. 6;
is_deeply(\%seen, { map { ("echo.$_" => 2) } 1 .. 3 }, 'takes its share');

# the trial fails: it rests longer

$agents[1]->refuse();
is(ok_of(3, '/?service=echo'), 3, 'all answered, refused again');
ok(wait_for(sub {
    ok_of(1, '/?service=echo');
    ($t->instance('echo.2')->{failures} // 0) >= 2
}), 'trial failed');
is($t->instance('echo.2')->{availability}, 'ejected', 'rests again');
$agents[1]->listen();
ok(wait_for(sub { $t->instance('echo.2')->{availability} eq 'available'
    || got('/?service=echo') && 0 }), 'back after a longer rest');

# bad answers count, too, but several in a row are needed

$agents[2]->set(mode => 503);

is(ok_of(3, '/?service=echo'), 3, 'bad answers are retried');
is($t->instance('echo.3')->{availability}, 'available', 'one is not enough');
is(ok_of(9, '/?service=echo'), 9, 'more of them');
is($t->instance('echo.3')->{availability}, 'ejected', 'three are');

$agents[2]->set(mode => 'ok');

# the budget: no more instances than the service says

$agents[0]->refuse();
$agents[1]->refuse();
$agents[2]->refuse();

like(http_get('/?service=twice'), qr{^HTTP/1.1 502 }, 'all refuse');
like($t->read_file('tries.log'), qr/ 502 \S+, \S+ \[502, 502\]\n\z/,
    'two tries');

# all are ejected: then they are tried all the same

is(ok_of(1, '/?service=echo'), 0, 'still refused');
$agents[0]->listen();
$agents[1]->listen();
$agents[2]->listen();
is(ok_of(1, '/?service=echo'), 1, 'no rest when nothing else is left');

# max_fails 0: never ejected

$agents[1]->refuse();
is(ok_of(6, '/?service=never'), 6, 'all answered, never ejected');
is($t->instance('never.2')->{availability}, 'available', 'not ejected');
cmp_ok($t->instance('never.2')->{failures}, '>=', 2, 'failed each time');

###############################################################################

sub got {
    my $r = http_get(@_);
    return $r =~ / 200 / ? http_body($r, json => 1)->{agent} : '';
}

sub ok_of {
    my ($n, $uri) = @_;
    return scalar grep { got($uri) } 1 .. $n;
}

###############################################################################
