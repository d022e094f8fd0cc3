
/*
 * init: a service file and an agent that works, for a start of one's own.
 */


#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "corral.h"


typedef struct {
    const char    *name;
    const char    *file;             /* of the agent */
    const char    *program;
    const char    *text;
} corral_init_template_t;


static int corral_init_write(const char *dir, const char *file,
    const char *text, mode_t mode);


/* what an agent has to do: listen where it is told, answer, end on SIGTERM */

static const corral_init_template_t  corral_init_templates[] = {

    { "python", "agent.py", "/usr/bin/python3",
      "#!/usr/bin/python3\n"
      "\"\"\"An agent: answers each message.  Needs python3-websockets.\"\"\"\n"
      "\n"
      "import asyncio\n"
      "import os\n"
      "import signal\n"
      "\n"
      "import websockets\n"
      "\n"
      "\n"
      "async def talk(socket, path=None):\n"
      "    async for message in socket:\n"
      "        await socket.send(f\"you said: {message}\")\n"
      "\n"
      "\n"
      "async def main():\n"
      "    done = asyncio.get_running_loop().create_future()\n"
      "    asyncio.get_running_loop().add_signal_handler(\n"
      "        signal.SIGTERM, done.set_result, None)\n"
      "\n"
      "    listen = os.environ.get(\"CORRAL_LISTEN\", \"127.0.0.1:8765\")\n"
      "\n"
      "    if listen.startswith(\"unix:\"):\n"
      "        server = websockets.unix_serve(talk, listen[5:])\n"
      "    else:\n"
      "        host, port = listen.rsplit(\":\", 1)\n"
      "        server = websockets.serve(talk, host, int(port))\n"
      "\n"
      "    async with server:\n"
      "        print(\"listening on\", listen, flush=True)\n"
      "        await done\n"
      "\n"
      "\n"
      "asyncio.run(main())\n" },

    { "node", "agent.js", "node",
      "// An agent: answers each message.  Needs \"npm install ws\".\n"
      "\n"
      "const http = require('http');\n"
      "const { WebSocketServer } = require('ws');\n"
      "\n"
      "const listen = process.env.CORRAL_LISTEN || '127.0.0.1:8765';\n"
      "const server = http.createServer((request, response) => {\n"
      "  response.end('an agent\\n');\n"
      "});\n"
      "\n"
      "new WebSocketServer({ server }).on('connection', (socket) => {\n"
      "  socket.on('message', (data, binary) => {\n"
      "    socket.send(binary ? data : `you said: ${data}`);\n"
      "  });\n"
      "});\n"
      "\n"
      "if (listen.startsWith('unix:')) {\n"
      "  server.listen(listen.slice(5));\n"
      "} else {\n"
      "  const at = listen.lastIndexOf(':');\n"
      "  server.listen(Number(listen.slice(at + 1)), listen.slice(0, at));\n"
      "}\n"
      "\n"
      "process.on('SIGTERM', () => process.exit(0));\n" },

    { NULL, NULL, NULL, NULL }
};


corral_exit_e
corral_init_init(corral_run_t *run)
{
    char                            cwd[4096], text[8192];
    size_t                          i;
    json_t                         *made;
    const char                     *name, *wanted;
    const corral_init_template_t   *t;

    name = run->args[0];
    wanted = run->template ? run->template : "python";

    for (t = corral_init_templates; t->name; t++) {
        if (strcmp(t->name, wanted) == 0) {
            break;
        }
    }

    if (t->name == NULL) {
        corral_output_error("there is no template \"%s\": python or node",
                            wanted);
        return CORRAL_USAGE;
    }

    for (i = 0; name[i]; i++) {
        if (!isalnum((unsigned char) name[i])
            && (i == 0 || strchr("._-", name[i]) == NULL))
        {
            break;
        }
    }

    if (name[i] || i == 0 || i > 63) {
        corral_output_error("\"%s\" is not a name for a service: up to 63 "
                            "letters, digits, \".\", \"_\" and \"-\"", name);
        return CORRAL_USAGE;
    }

    if (mkdir(name, 0755) != 0) {
        corral_output_error("the directory %s cannot be made: %s", name,
                            strerror(errno));
        return errno == EEXIST ? CORRAL_CONFLICT : CORRAL_FAILED;
    }

    if (getcwd(cwd, sizeof(cwd)) == NULL) {
        corral_output_error("the current directory is gone");
        return CORRAL_FAILED;
    }

    snprintf(text, sizeof(text),
             "# corral apply -f %s/service.yaml --wait 30\n"
             "\n"
             "name: %s\n"
             "description: answers each message\n"
             "command: [%s, %s/%s/%s]\n"
             "replicas: 2\n"
             "desired: running\n"
             "readiness_probe:\n"
             "  type: websocket\n"
             "  interval: 2s\n",
             name, name, t->program, cwd, name, t->file);

    if (corral_init_write(name, t->file, t->text, 0755) != 0
        || corral_init_write(name, "service.yaml", text, 0644) != 0)
    {
        return CORRAL_FAILED;
    }

    if (run->format == CORRAL_JSON) {
        made = json_pack("{s:s, s:[s++, s++]}", "service", name, "files", name,
                         "/", t->file, name, "/", "service.yaml");
        corral_output_json(made, 1);
        json_decref(made);
    }

    corral_output_note("made %s/%s and %s/service.yaml\n"
                       "next: corral apply -f %s/service.yaml --wait 30\n"
                       "      corral call %s hello",
                       name, t->file, name, name, name);

    return CORRAL_OK;
}


static int
corral_init_write(const char *dir, const char *file, const char *text,
    mode_t mode)
{
    int    rc;
    char   path[4096];
    FILE  *f;

    snprintf(path, sizeof(path), "%s/%s", dir, file);

    f = fopen(path, "wx");

    if (f == NULL) {
        corral_output_error("%s cannot be made: %s", path, strerror(errno));
        return -1;
    }

    rc = fputs(text, f) < 0;
    rc |= fchmod(fileno(f), mode) != 0;
    rc |= fclose(f) != 0;

    if (rc) {
        corral_output_error("%s could not be written whole", path);
        return -1;
    }

    return 0;
}
