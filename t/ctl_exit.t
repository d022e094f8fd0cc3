#!/usr/bin/perl

# The command line where something is wrong: its exit codes, as docs/cli.md lists
# them, usage, tokens, a daemon that is away, doctor; and completion.

###############################################################################

use warnings;
use strict;

use JSON::PP;
use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Stack;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $t = Test::Corral->new()->has(qw/corral corrald redis-server/);
my $s = Test::Corral::Stack->new($t);
my $d = $s->d();
my $dir = $d->dir();

$t->plan(101 + 3);
$s->start(1);

my ($code, $out, $err);
my %seen;

sub corral {
    my ($want, @args) = @_;

    ($code, $out, $err) = $d->ctl(@args);
    $seen{$code} = 1;
    is($code, $want, "corral @args") or diag($out, $err);
}

sub file {
    my ($name, $text) = @_;

    open my $fh, '>', "$dir/$name" or die "$dir/$name: $!";
    print $fh $text;
    close $fh;

    return "$dir/$name";
}

$d->service(name => 'good', command => $d->agent());
$d->wait_running('good', 1);

###############################################################################

# usage

for (
    [ [ ], qr/^$/ ],
    [ [ 'burn' ], qr/there is no command "burn"/ ],
    [ [ 'help', 'burn' ], qr/there is no command "burn"/ ],
    [ [ 'ps', 'a', 'b' ], qr/^corral: usage: corral ps \[SERVICE\]$/m ],
    [ [ 'ps', '--burn' ], qr/"--burn" is not an option/ ],
    [ [ 'ps', '--wait', 1 ], qr/"ps" does not take --wait/ ],
    [ [ 'ps', '-o' ], qr/"-o" needs a value/ ],
    [ [ 'ps', '-o', 'xml' ], qr/"xml" is not an output: table, json or name/ ],
    [ [ 'ps', 'good', '--all' ], qr/exclude each other/ ],
    [ [ 'ps', '--timeout', '0' ], qr/--timeout is "0", .*from 1 to/ ],
    [ [ 'wait', 'good', '--wait', '1m' ], qr/--wait is "1m", .*from 1 to/ ],
    [ [ 'wait', 'good', '--wait', '9' x 30 ], qr/--wait is "9+", / ],
    [ [ 'ps', '--api', 'ftp://x' ], qr/"ftp:\/\/x" is not where an API can be/ ],
    [ [ 'ps', '--token-file', "$dir/none" ], qr{token file $dir/none cannot} ],
    [ [ 'start' ], qr/usage: corral start SERVICE/ ],
    [ [ 'completion', 'csh' ], qr/"csh" is not a shell.*bash, zsh or fish/ ],
    [ [ 'routes' ], qr/"routes" needs a second word.*: list show add set / ],
    [ [ 'help', 'routes' ], qr/"routes" needs a second word/ ],
    [ [ 'scale', 'good', '9' x 30 ], qr/"9+" is not a number of replicas/ ],
    [ [ 'call', 'good', 'a', '-d', 'b' ], qr/given twice: "a" and --data/ ],
    [ [ 'call', 'good', '-d', '@/none' ], qr/^corral: \/none cannot be opened$/ ],
    [ [ 'routes', 'test', '/x', 'word' ], qr/"word" is not NAME:VALUE/ ],
    [ [ 'connections', '--age', 'x' ], qr/^corral: "age" is "x", it must be/ ],
    [ [ 'close', '--all', '-y', '--code', 5 ], qr/"code" is 5, it must be 1000/ ],
    [ [ 'stop', '-l', '', '-y' ], qr/"labels" must be an object/ ],
    [ [ 'init', '' ], qr/"" is not a name for a service/ ],
) {
    my ($args, $re) = @$_;

    corral(2, @$args);
    like($err, $re, 'says what is wrong');
}

# all of them are in the help, and all of the help is in the table

corral(0, 'help');
my @commands = $out =~ /^  ([a-z]+(?: [a-z]+)?) {2,}\S/mg;
cmp_ok(scalar @commands, '>', 30, 'commands');
is_deeply([ grep { ($d->ctl(split(' ', $_), '--help'))[1]
    !~ /^corral \Q$_\E .*\n\n\S/ } @commands ], [], 'each one has its help');
corral(0, '--version');
like($out, qr/^corral \d+\.\d+\.\d+$/, 'version');

# found, denied, in the way

corral(3, 'describe', 'nobody');
corral(3, 'explain', 'nobody');
corral(3, 'start', 'good', 'nobody');
like($err, qr/^good: starting\n?corral: nobody: /m, 'what there is, is done');

my $rule = file('rule.yaml', "kind: rule\nname: r\n");

corral(0, 'routes', 'add', '-f', $rule);
corral(4, 'routes', 'add', '-f', $rule);
corral(5, 'ps', '--token-file', file('token', "wrong\n"));
is($out, '', 'nothing is said to strangers');
like($err, qr/token/, 'and why');
corral(5, 'apply', '-f', file('s.yaml', "name: s\n"), '--token-file',
    "$dir/token");
is($d->api('GET', '/services?limit=9')->{total}, 1, 'nothing is done');
corral(0, 'ps', '--token-file', "$dir/s/token");

# what will not come

$d->service(name => 'bad', command => [ '/nowhere' ], max_restart_count => 1);
corral(7, 'wait', 'bad', '--wait', 30);
like($err, qr/bad: error; "corral explain bad" says why/, 'where to look');
corral(6, 'scale', 'good', '2', '--wait', '1', '--timeout', '1')
    if $d->api('PATCH', '/services/good', { command => $d->agent('slow=20') });

# doctor: all is well but for one service, then the gateway

corral(7, 'doctor');
like($out, qr/^services +FAILED +2, of them 1 in trouble +corral explain bad$/m,
    'doctor: a service');
is(scalar(() = $out =~ /FAILED/g), 1, 'and nothing else');

$d->api('DELETE', '/services/bad?force=1');

corral(0, 'doctor', '-o', 'json');
is(scalar(grep { $_->{result} ne 'ok' } @{ decode_json($out) }), 0,
    'all is well');
like((grep { $_->{check} eq 'gateway port' } @{ decode_json($out) })[0]{found},
    qr{^http://127\.0\.0\.1:@{[ $t->port(8080) ]}: answers},
    'the gateway is where the API says');
corral(7, 'doctor', '--gateway', 'ws://127.0.0.1:1/x/{service}');
like($out, qr{^gateway port +FAILED +http://127\.0\.0\.1:1: }m,
    'doctor: the gateway');
corral(7, 'doctor', '--token-file', "$dir/token");
like($out, qr/^API +FAILED .*give the token/m, 'doctor: the token');

# completion: bash loads it and asks it

my $bash = <<'EOB';
eval "$(corral completion bash)"
ask() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _corral; echo "${COMPREPLY[@]}"; }
complete -p corral
ask corral desc
ask corral routes en
ask corral describe go
ask corral routes show ''
EOB

is($d->ctl_shell("bash -eu @{[ file('complete.sh', $bash) ]} 2>&1"),
    "complete -o default -F _corral corral\ndescribe\nenable\ngood\nr\n",
    'completion of commands, services and rules');
is($d->ctl_shell('for shell in bash zsh; do corral completion $shell '
    . '| bash -n 2>&1; done'), '', 'syntax');
like($d->ctl_shell('corral completion fish'),
    qr/^complete -c corral -n __fish_use_subcommand -f -a explain -d /m, 'fish');

# standard output that is full is a failure, and told

for (['ps'], [ 'logs', 'good' ]) {
    is($d->ctl_shell("corral @$_ 2>&1 > /dev/full; echo \$?"),
        "corral: standard output cannot be written\n1\n", "a full disk: @$_");
}
$seen{1} = 1;

# Redis away, then corrald

corral(0, 'delete', '--yes', 'good');

kill 'STOP', $d->_redis_pid();
ok(wait_for(sub { ($d->ctl('doctor'))[1] =~ /^store +FAILED /m }, 40),
    'doctor: the store is frozen');
corral(8, 'apply', '-f', "$dir/s.yaml");
like($err, qr/store|Redis/, 'no change without it');
kill 'CONT', $d->_redis_pid();
ok(wait_for(sub { ($d->ctl('apply', '-f', "$dir/s.yaml"))[0] == 0 }, 30),
    'it comes back');

corral(8, 'ps', '--api', 'http://127.0.0.1:1');
like($err, qr{corrald cannot be reached at http://127\.0\.0\.1:1: .*is it running},
    'corrald is away');
corral(8, 'ps', '--api', "unix:$dir/none");
corral(8, 'events', '--api', 'http://127.0.0.1:1');
corral(8, 'logs', 'good', '--api', 'http://127.0.0.1:1');
corral(7, 'doctor', '--api', 'http://127.0.0.1:1', '--gateway',
    'http://127.0.0.1:' . $t->port(8080));
like($out, qr/^API +FAILED .*start corrald/m, 'doctor: corrald');

# one that does not answer

my $deaf = '127.0.0.1:' . port(8099);

$t->run_daemon(sub {
    my $server = IO::Socket::INET->new(LocalAddr => $deaf,
        Listen => 5, ReuseAddr => 1) or die $!;
    my @kept;
    push @kept, $server->accept() while 1;
});
$t->waitforsocket($deaf);
corral(6, 'ps', '--timeout', 1, '--api', "http://$deaf");

# every code that is documented was there

my ($table) = slurp("$Test::Corral::ROOT/docs/cli.md") =~ /## Exit codes\n(.*?)\n## /s;

is_deeply([ sort { $a <=> $b } keys %seen ],
    [ $table =~ /^\| (\d+) \|/mg ], 'each documented exit code was reached');

$s->finish();

###############################################################################
