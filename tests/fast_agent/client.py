"""The official Python SDK as a client of a command on stdio: client.py COMMAND ARGS...

Prints the names of the tools, and what the tool `hello` says, a line each.
"""

import asyncio
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client


async def main():
    server = StdioServerParameters(command=sys.argv[1], args=sys.argv[2:])
    async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        tools = await session.list_tools()
        print(*sorted(tool.name for tool in tools.tools))
        said = await session.call_tool("hello", {})
        print(said.content[0].text)


asyncio.run(main())
