#!/usr/bin/perl

# What an agent gets and what nobody else does: its environment, env files with
# errors that have a line, secrets that are shown nowhere; which programs and
# users are allowed.  (A manager that starts agents with an empty environment
# starts them without PATH, HOME and keys.)

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral::Daemon;

my $d = Test::Corral::Daemon->new();
my $dir = $d->dir;

plan(tests => 48);

sub file {
    my ($name, $content) = @_;
    open my $fh, '>', "$dir/$name" or die "$name: $!\n";
    print $fh $content;
    close $fh;
    return "$dir/$name";
}

$d->start();

###############################################################################

my $env = file('agent.env', <<'EOE');
# a comment
FROM_FILE=plain value   # and a comment
export EXPORTED=yes
QUOTED="with \"quotes\", \$ and \t tab"
SINGLE='as # it \n stands'
EMPTY=
OVER=file
HASH=a#b
EOE

my $key = file('key', "s3cr3t-in-a-file\n");

$d->service(name => 'echo', command => $d->agent('{service}', '{instance}',
        '{listen}', '{socket}', '{unknown}', 'x{port}x'),
    env_file => [$env], env => { OVER => 'document', PLAIN => 'p4ssw0rd' },
    secrets => { KEY => "file:$key", TOKEN => 'env:CORRAL_TEST_SECRET' });

my ($i) = $d->wait_running('echo', 1);
my %e = map { split /=/, $_, 2 } split /\n/, $d->ask($i, '/env');

like($e{PATH}, qr{/usr/bin}, 'PATH');
ok($e{HOME}, 'HOME');
ok($e{LANG}, 'LANG');
is($e{FROM_FILE}, 'plain value', 'a value of a file');
is($e{EXPORTED}, 'yes', 'export is allowed');
is($e{QUOTED}, "with \"quotes\", \$ and \t tab", 'quotes and escapes');
is($e{SINGLE}, 'as # it \n stands', 'single quotes');
is($e{EMPTY}, '', 'an empty value');
is($e{HASH}, 'a#b', 'a hash within a value');
is($e{OVER}, 'document', 'the document stands over the file');
is($e{KEY}, 's3cr3t-in-a-file', 'a secret of a file');
is($e{TOKEN}, 'from the environment', 'a secret of corrald\'s environment');
is($e{CORRAL_SERVICE}, 'echo', 'the service');
is($e{CORRAL_INSTANCE}, $i->{instance_id}, 'the instance');
is($e{CORRAL_NODE}, 'n1', 'the node');
is($e{CORRAL_LISTEN}, $i->{address}, 'where to listen');
ok(!exists $e{CORRAL_TEST_SECRET}, 'corrald\'s own environment is not theirs');
my $args = $d->ask($i, '/');
my ($path) = $i->{address} =~ /unix:(.*)/;
is($args =~ s/.* args //r,
    "echo $i->{instance_id} unix:$path $path {unknown} xx",
    'words in arguments are replaced');

SKIP: {
    skip 'not root', 2 if $> != 0;
    like($args, qr/uid 65534 /, 'not as root');
    is((stat "/proc/$i->{pid}")[4], 65534, 'really');
}

# secrets are nowhere

my $secret = qr/s3cr3t-in-a-file|p4ssw0rd|from the environment/;

unlike(JSON::PP::encode_json($d->api('GET', '/services/echo')), $secret,
    'not in the service');
unlike(JSON::PP::encode_json($d->api('GET', '/instances')), $secret,
    'not in instances');
unlike($d->log(), $secret, 'not in corrald\'s log');
unlike(slurp("$dir/l/$i->{instance_id}.log"), $secret, 'not in its own');
unlike(join("\n", map { slurp($_) } glob '/proc/[0-9]*/cmdline'),
    qr/s3cr3t-in-a-file|p4ssw0rd/, 'not in the list of processes');
unlike(JSON::PP::encode_json($d->api('GET', '/events?limit=100')), $secret,
    'not in events');

# errors with file and line

my @bad = (
    ["A=1\nnonsense\n", 2, 'it is not KEY=VALUE'],
    ["A=1\n\n1B=x\n", 3, 'must begin with a letter'],
    ["A=\"open\n", 1, 'a quote is not closed'],
    ["A=\"x\" y\n", 1, 'something follows the quotes'],
    ["A=\"\\x\"\n", 1, 'after \\ only'],
);

my $n = 0;

for my $bad (@bad) {
    my $f = file('bad' . ++$n, $bad->[0]);
    $d->service(name => "bad$n", env_file => [$f], command => $d->agent());
    my ($b) = $d->wait_instances("bad$n", sub { $_[0]{state} eq 'failed' });
    is($b->{reason}, 'secret_missing', 'a bad env file');
    like($b->{message}, qr/^\Q$f:$bad->[1]: \E.*\Q$bad->[2]\E/,
        "line $bad->[1]: $bad->[2]");
}

$d->service(name => 'missing', command => $d->agent(),
    secrets => { K => "file:$dir/nowhere" }, restart_delay => '200ms');
my ($m) = $d->wait_instances('missing', sub { $_[0]{state} eq 'failed' });
like($m->{message}, qr/secret "K": its file does not exist/,
    'a missing secret is named');
file('nowhere', 'now');
ok($d->wait_running('missing', 1), 'and when it is there, it starts');

# which programs, which users

$d->service(name => 'nothing', command => ['no-such-program-here']);
($m) = $d->wait_instances('nothing', sub { $_[0]{state} eq 'failed' });
like($m->{message}, qr/"no-such-program-here" was not found in PATH/,
    'a program that is not there');

$d->kill('TERM')->start(command_roots => ['/usr/bin'],
    users => ['daemon']);

symlink '/bin/../usr/sbin/nologin', "$dir/link";
$d->service(name => 'outside', command => ["$dir/agent.pl"]);
($m) = $d->wait_instances('outside', sub { $_[0]{state} eq 'failed' });
is($m->{reason}, 'command_refused', 'outside of command_roots');
like($m->{message}, qr/"\Q$dir\E\/agent\.pl" is outside "command_roots"/,
    'it says so');
$d->service(name => 'inside', command => $d->agent());
ok($d->wait_running('inside', 1), 'inside of them');

SKIP: {
    skip 'not root', 3 if $> != 0;

    $d->service(name => 'root', user => 'root', command => $d->agent());
    ($m) = $d->wait_instances('root', sub { $_[0]{state} eq 'failed' });
    is($m->{reason}, 'command_refused', 'root is refused');
    $d->service(name => 'daemon', user => 'daemon', command => $d->agent());
    ($m) = $d->wait_running('daemon', 1);
    like($d->ask($m, '/'), qr/uid 1 /, 'a user of the list');
    is((stat "/proc/$m->{pid}")[4], 1, 'really');
}

$d->finish();

###############################################################################
